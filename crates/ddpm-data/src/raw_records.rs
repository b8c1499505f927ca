//! Images that lie uncompressed, one after the other.

use crate::bytes::Bytes;
use crate::error::one_line;
use crate::{DataError, Image, ImageSource};

/// Raw images of one size: one byte a sample, as the files that hold them have it.
#[derive(Debug)]
pub(crate) struct RawRecords {
    /// What the file is called.
    pub(crate) name: String,
    /// Where the records are.
    pub(crate) bytes: Bytes,
    /// Bytes before the first record.
    pub(crate) start: u64,
    /// Bytes of a record.
    pub(crate) stride: usize,
    /// Bytes of a record before its image.
    pub(crate) skip: usize,
    /// In pixels.
    pub(crate) width: usize,
    /// In pixels.
    pub(crate) height: usize,
    /// 1, or 3 in planes: all red, all green, all blue.
    pub(crate) channels: usize,
}

impl ImageSource for RawRecords {
    fn len(&self) -> usize {
        ((self.bytes.len() - self.start) / self.stride as u64) as usize
    }

    fn name(&self, index: usize) -> String {
        one_line(format_args!("{}, image {index}", self.name))
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let Self { width, height, channels, .. } = *self;
        let offset = self.start + index as u64 * self.stride as u64 + self.skip as u64;
        let planes = self.bytes.read(offset, width * height * channels)?;
        let planes = planes.as_slice();
        let samples = if channels == 1 {
            planes.to_vec()
        } else {
            (0..width * height).flat_map(|i| (0..channels).map(move |c| planes[c * width * height + i])).collect()
        };
        Ok(Image { width, height, channels, samples })
    }
}
