//! Encoded images out of archives, kept where they can be reached in any order.

use crate::bytes::Bytes;
use crate::decode::decode;
use crate::error::one_line;
use crate::{DataError, Image, ImageSource};

/// Encoded images by index. What lies in memory is encoded: decoded images are never kept.
#[derive(Debug)]
pub(crate) struct ByteStore {
    /// Name, offset and length.
    entries: Vec<(String, u64, usize)>,
    bytes: Bytes,
}

impl ByteStore {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), bytes: Bytes::new() }
    }

    /// Adds one encoded image.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub(crate) fn push(&mut self, name: String, bytes: &[u8]) -> Result<(), DataError> {
        self.entries.push((name, self.bytes.len(), bytes.len()));
        self.bytes.push(bytes)
    }

    /// Bytes of all images.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len()
    }
}

impl ImageSource for ByteStore {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn name(&self, index: usize) -> String {
        one_line(&self.entries[index].0)
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let (name, offset, len) = &self.entries[index];
        decode(&self.bytes.read(*offset, *len)?, name)
    }
}
