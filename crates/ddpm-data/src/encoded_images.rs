//! Encoded images from an archive or a Parquet file.

use crate::byte_storage::ByteStorage;
use crate::decode::decode;
use crate::decode_request::DecodeRequest;
use crate::error::{DataError, one_line};
use crate::image::Image;
use crate::image_source::ImageSource;

/// Encoded images by index. Only encoded bytes are kept in memory; each image is decoded when it is requested.
#[derive(Debug)]
pub(crate) struct EncodedImages {
    /// The name, offset and length of each image.
    entries: Vec<(String, u64, usize)>,
    bytes: ByteStorage,
}

impl EncodedImages {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), bytes: ByteStorage::new() }
    }

    /// Appends an encoded image.
    ///
    /// # Errors
    /// [`DataError::Io`] when the temporary file cannot be written.
    pub(crate) fn push(&mut self, name: String, bytes: &[u8]) -> Result<(), DataError> {
        self.entries.push((name, self.bytes.len(), bytes.len()));
        self.bytes.push(bytes)
    }

    /// The total number of bytes of all images.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.bytes.len()
    }
}

impl ImageSource for EncodedImages {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn name(&self, index: usize) -> String {
        one_line(&self.entries[index].0)
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        self.decode_as(index, &mut DecodeRequest::full_size())
    }

    fn decode_as(&self, index: usize, request: &mut DecodeRequest<'_>) -> Result<Image, DataError> {
        let (name, offset, len) = &self.entries[index];
        decode(&self.bytes.read(*offset, *len)?, name, request)
    }
}
