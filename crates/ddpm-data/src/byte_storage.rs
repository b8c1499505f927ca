//! Random access to a large number of bytes, in memory or in a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::error::DataError;

/// The number of appended bytes that are kept in memory. Beyond it, all of them move to an unnamed temporary file.
const MAX_IN_MEMORY_BYTES: u64 = 256 << 20;

/// Bytes that can be read at any offset: those of an existing file, or bytes that were appended with
/// [`push`](Self::push). Appended bytes are kept in memory until there are too many, then in a temporary file.
#[derive(Debug)]
pub(crate) struct ByteStorage {
    len: u64,
    memory: Vec<u8>,
    file: Option<Mutex<File>>,
    /// The path in error messages: the file, or the directory of temporary files.
    path: PathBuf,
    max_in_memory: u64,
}

impl ByteStorage {
    /// An empty storage.
    pub(crate) fn new() -> Self {
        Self { len: 0, memory: Vec::new(), file: None, path: std::env::temp_dir(), max_in_memory: MAX_IN_MEMORY_BYTES }
    }

    /// An empty storage that writes all bytes to a temporary file at once.
    pub(crate) fn on_disk() -> Self {
        Self { max_in_memory: 0, ..Self::new() }
    }

    /// The bytes of an open file. They are not copied.
    ///
    /// # Errors
    /// [`DataError::Io`] when the length of the file cannot be read.
    pub(crate) fn from_file(path: PathBuf, file: File) -> Result<Self, DataError> {
        let len = file.metadata().map_err(DataError::io(&path))?.len();
        Ok(Self { len, memory: Vec::new(), file: Some(Mutex::new(file)), path, max_in_memory: 0 })
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`DataError::Io`] when the temporary file cannot be written.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.write(bytes).map_err(DataError::io(&self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() && self.len + bytes.len() as u64 > self.max_in_memory {
            let mut file = tempfile::tempfile()?;
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some(Mutex::new(file));
        }
        match &mut self.file {
            None => self.memory.extend_from_slice(bytes),
            Some(file) => {
                let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::End(0))?;
                file.write_all(bytes)?;
            }
        }
        Ok(())
    }

    /// Reads `len` bytes at `offset`.
    ///
    /// # Errors
    /// [`DataError::Io`] when the file cannot be read or has become shorter.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, DataError> {
        let Some(file) = &self.file else {
            let start = offset as usize;
            return Ok(self.memory[start..start + len].to_vec());
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = vec![0; len];
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes));
        read.map(|()| bytes).map_err(DataError::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_back_from_memory_and_from_a_file() {
        let mut bytes = ByteStorage { max_in_memory: 10, ..ByteStorage::new() };
        let parts: Vec<Vec<u8>> = (0..6u8).map(|i| vec![i; 3 + usize::from(i)]).collect();
        let mut offsets = Vec::new();
        for part in &parts {
            offsets.push(bytes.len());
            bytes.push(part).unwrap();
            // Reading moves the position of the file; the next part must still be appended at the end.
            for (offset, part) in offsets.iter().zip(&parts) {
                assert_eq!(bytes.read(*offset, part.len()).unwrap(), *part);
            }
        }
        assert!(bytes.file.is_some() && bytes.memory.is_empty());
    }

    #[test]
    fn a_storage_on_disk_keeps_nothing_in_memory() {
        let mut bytes = ByteStorage::on_disk();
        bytes.push(&[1, 2, 3]).unwrap();
        assert!(bytes.memory.is_empty());
        assert_eq!(bytes.read(1, 2).unwrap(), [2, 3]);
    }
}
