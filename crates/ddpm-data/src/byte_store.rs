//! Encoded pictures out of archives, kept where they can be reached in any order.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Mutex;

use crate::decode::decode;
use crate::{DataError, ImageSource, Picture};

/// Encoded bytes held in memory up to this many; a set that is larger goes to an unnamed temporary file.
const IN_MEMORY: u64 = 1 << 30;

/// Encoded pictures by index. What lies in memory is encoded: decoded pictures are never kept.
#[derive(Debug)]
pub(crate) struct ByteStore {
    /// Name, offset and length.
    entries: Vec<(String, u64, usize)>,
    len: u64,
    memory: Vec<u8>,
    file: Option<Mutex<File>>,
    in_memory: u64,
}

impl ByteStore {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), len: 0, memory: Vec::new(), file: None, in_memory: IN_MEMORY }
    }

    /// Adds one encoded picture.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub(crate) fn push(&mut self, name: String, bytes: &[u8]) -> Result<(), DataError> {
        self.write(bytes).map_err(DataError::io(&std::env::temp_dir()))?;
        self.entries.push((name, self.len, bytes.len()));
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
            Some(file) => file.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).write_all(bytes)?,
        }
        Ok(())
    }

    fn read(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        use std::io::Read;
        let Some(file) = &self.file else {
            let start = offset as usize;
            return Ok(self.memory[start..start + len].to_vec());
        };
        let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut bytes = vec![0; len];
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl ImageSource for ByteStore {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn name(&self, index: usize) -> String {
        self.entries[index].0.clone()
    }

    fn decode(&self, index: usize) -> Result<Picture, DataError> {
        let (name, offset, len) = &self.entries[index];
        decode(&self.read(*offset, *len).map_err(DataError::io(&std::env::temp_dir()))?, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_from_memory_and_from_a_file() {
        let mut store = ByteStore { in_memory: 10, ..ByteStore::new() };
        let parts: Vec<Vec<u8>> = (0..6u8).map(|i| vec![i; 3 + usize::from(i)]).collect();
        for (i, part) in parts.iter().enumerate() {
            store.push(i.to_string(), part).unwrap();
        }
        assert!(store.file.is_some());
        for i in [5, 0, 3] {
            let (_, offset, len) = store.entries[i];
            assert_eq!(store.read(offset, len).unwrap(), parts[i]);
        }
    }
}
