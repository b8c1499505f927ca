//! Pictures that lie uncompressed, one after the other, in memory.

use crate::{DataError, ImageSource, Picture};

/// Raw pictures of one size: one byte a sample, as the files that hold them have it.
#[derive(Debug)]
pub(crate) struct RawRecords {
    /// What the file is called.
    pub(crate) name: String,
    /// Every record, from its first byte.
    pub(crate) bytes: Vec<u8>,
    /// Bytes of a record.
    pub(crate) stride: usize,
    /// Bytes of a record before its picture.
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
        self.bytes.len() / self.stride
    }

    fn name(&self, index: usize) -> String {
        format!("{}, picture {index}", self.name)
    }

    fn decode(&self, index: usize) -> Result<Picture, DataError> {
        let Self { width, height, channels, .. } = *self;
        let planes = &self.bytes[index * self.stride + self.skip..][..width * height * channels];
        let samples = if channels == 1 {
            planes.to_vec()
        } else {
            (0..width * height).flat_map(|i| (0..channels).map(move |c| planes[c * width * height + i])).collect()
        };
        Ok(Picture { width, height, channels, samples })
    }
}
