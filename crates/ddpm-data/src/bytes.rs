//! Bytes that can be reached in any order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::DataError;

/// Bytes written here are held in memory up to this many; if there are more, all of them go to an unnamed temporary file.
const IN_MEMORY: u64 = 256 << 20;

/// Bytes by offset: those of a file, or what was written here.
#[derive(Debug)]
pub(crate) struct Bytes {
    len: u64,
    memory: Vec<u8>,
    file: Option<Mutex<File>>,
    /// What an error names: the file, or the folder of temporary files.
    path: PathBuf,
    in_memory: u64,
}

impl Bytes {
    /// Nothing yet, to be written.
    pub(crate) fn new() -> Self {
        Self { len: 0, memory: Vec::new(), file: None, path: std::env::temp_dir(), in_memory: IN_MEMORY }
    }

    /// Nothing yet, to be written, and nothing in memory at any time.
    pub(crate) fn on_disk() -> Self {
        Self { in_memory: 0, ..Self::new() }
    }

    /// Those of an open file, which stay where they are.
    ///
    /// # Errors
    /// When the system does not say how many there are.
    pub(crate) fn of_file(path: PathBuf, file: File) -> Result<Self, DataError> {
        let len = file.metadata().map_err(DataError::io(&path))?.len();
        Ok(Self { len, memory: Vec::new(), file: Some(Mutex::new(file)), path, in_memory: 0 })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds some at the end.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.write(bytes).map_err(DataError::io(&self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() && self.len + bytes.len() as u64 > self.in_memory {
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

    /// `len` bytes from `offset`.
    ///
    /// # Errors
    /// When the file cannot be read or has become shorter.
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
    fn what_goes_in_comes_out_from_memory_and_from_a_file() {
        let mut bytes = Bytes { in_memory: 10, ..Bytes::new() };
        let parts: Vec<Vec<u8>> = (0..6u8).map(|i| vec![i; 3 + usize::from(i)]).collect();
        let mut offsets = Vec::new();
        for part in &parts {
            offsets.push(bytes.len());
            bytes.push(part).unwrap();
            // Reading moves the file's position: the next part still goes to the end.
            for (offset, part) in offsets.iter().zip(&parts) {
                assert_eq!(bytes.read(*offset, part.len()).unwrap(), *part);
            }
        }
        assert!(bytes.file.is_some() && bytes.memory.is_empty());
    }

    #[test]
    fn a_set_on_disk_takes_no_memory() {
        let mut bytes = Bytes::on_disk();
        bytes.push(&[1, 2, 3]).unwrap();
        assert!(bytes.memory.is_empty());
        assert_eq!(bytes.read(1, 2).unwrap(), [2, 3]);
    }
}
