//! Uncompressed images of one size, stored one after the other.

use crate::byte_storage::ByteStorage;
use crate::error::{DataError, one_line};
use crate::image::Image;
use crate::image_source::ImageSource;

/// Uncompressed images of one size with one byte per sample, as IDX and CIFAR-10 binary files store them.
#[derive(Debug)]
pub(crate) struct RawImages {
    /// The name of the file in messages.
    pub(crate) name: String,
    /// The bytes that hold the records.
    pub(crate) bytes: ByteStorage,
    /// The number of bytes before the first record.
    pub(crate) first_record: u64,
    /// The number of bytes of a record.
    pub(crate) record_len: usize,
    /// The number of bytes of a record before its image.
    pub(crate) image_offset: usize,
    /// The width in pixels.
    pub(crate) width: usize,
    /// The height in pixels.
    pub(crate) height: usize,
    /// The number of channels. Several channels are stored as planes: all red samples, then all green, then all blue.
    pub(crate) channels: usize,
}

impl ImageSource for RawImages {
    fn len(&self) -> usize {
        ((self.bytes.len() - self.first_record) / self.record_len as u64) as usize
    }

    fn name(&self, index: usize) -> String {
        one_line(format_args!("{}, image {index}", self.name))
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let Self { width, height, channels, .. } = *self;
        let offset = self.first_record + index as u64 * self.record_len as u64 + self.image_offset as u64;
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
