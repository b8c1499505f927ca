//! The interface between the two file formats and the reader of tensors.

use std::collections::BTreeMap;

use crate::pth::arena::{Storage, StridedTensor};
use crate::pth::problem::Problem;

/// What a file holds: descriptions of tensors, and where their elements are.
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, StridedTensor>,
    pub(crate) source: Box<dyn StorageSource>,
}

/// Where the bytes of storages are.
pub(crate) trait StorageSource {
    /// The bytes of a storage: exactly as many as its elements take. The length is compared with the file before memory
    /// is allocated.
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>, Problem>;
}

/// The number of bytes of a storage.
pub(crate) fn bytes_of(storage: &Storage) -> Result<usize, Problem> {
    storage
        .len
        .checked_mul(storage.element.bytes())
        .ok_or_else(|| Problem::Damaged(format!("a storage of {} elements, more than memory can have", storage.len)))
}
