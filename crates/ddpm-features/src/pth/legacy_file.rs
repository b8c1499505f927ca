//! The format of `torch.save` before PyTorch 1.6: a magic number, a version, properties of the machine, the object and
//! the keys of its storages, each a pickle; then the storages, each with its number of elements before it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use crate::pth::arena::{Storage, Value};
use crate::pth::interpreter::Interpreter;
use crate::pth::problem::Problem;
use crate::pth::state_dict::state_dict;
use crate::pth::storage_source::{Contents, StorageSource, bytes_of};

/// The pickled magic number after the two bytes of the protocol.
const MAGIC: [u8; 13] = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
const VERSION: usize = 1001;
/// The largest size of all pickles together. Those of networks with billions of parameters take less than a megabyte.
const MAX_PICKLE_BYTES: u64 = 1 << 24;

/// Whether a file that starts with these bytes has the format.
pub(crate) fn is_legacy(start: &[u8]) -> bool {
    start.first() == Some(&0x80) && start.get(2..2 + MAGIC.len()) == Some(&MAGIC)
}

/// Storages that follow each other in a file.
#[derive(Debug)]
pub(crate) struct LegacyFile {
    file: File,
    /// The offset of the first byte of each storage, after its number of elements.
    offsets: BTreeMap<String, u64>,
}

/// Reads the description of the tensors and finds the storages.
pub(crate) fn open_legacy(mut file: File, length: u64) -> Result<Contents, Problem> {
    let io = |error: std::io::Error| Problem::Damaged(error.to_string());
    let mut pickles = Vec::new();
    file.by_ref().take(MAX_PICKLE_BYTES.min(length)).read_to_end(&mut pickles).map_err(io)?;
    let mut interpreter = Interpreter::new(&pickles);
    interpreter.skip(2 + MAGIC.len());
    let version = interpreter.run()?;
    let version = interpreter.arena.index(version, "the version of the format")?;
    if version != VERSION {
        return Problem::damaged(format!("expected version {VERSION} of the format, found {version}"));
    }
    interpreter.run()?;
    let root = interpreter.run()?;
    let keys = interpreter.run()?;
    let Value::List(keys) = interpreter.arena.get(keys) else {
        return Problem::damaged("expected a list of the keys of storages");
    };
    let tensors = state_dict(&interpreter.arena, root)?;
    let storages: BTreeMap<&str, &Storage> =
        interpreter.arena.storages().map(|storage| (&*storage.key, storage)).collect();
    let mut offsets = BTreeMap::new();
    let mut position = interpreter.position() as u64;
    for key in keys {
        let key = interpreter.arena.text(*key, "the key of a storage")?;
        let Some(storage) = storages.get(key) else {
            return Problem::damaged(format!("the storage `{key}` belongs to no tensor"));
        };
        position = element_count(&mut file, position, storage)?;
        offsets.insert(key.to_owned(), position);
        position = match position.checked_add(bytes_of(storage)? as u64) {
            Some(end) if end <= length => end,
            _ => {
                let (expected, found) = (bytes_of(storage)?, length.saturating_sub(position));
                return Problem::damaged(format!(
                    "the storage `{key}`: expected {expected} bytes, found {found} before the end of the file"
                ));
            }
        };
    }
    Ok(Contents { tensors, source: Box::new(LegacyFile { file, offsets }) })
}

/// Checks the number of elements that precedes a storage, and returns the offset behind it.
fn element_count(file: &mut File, position: u64, storage: &Storage) -> Result<u64, Problem> {
    let mut count = [0; 8];
    let read = file.seek(SeekFrom::Start(position)).and_then(|_| file.read_exact(&mut count));
    read.or_else(|_| Problem::damaged(format!("the storage `{}` is missing at the end of the file", storage.key)))?;
    let count = u64::from_le_bytes(count);
    if count != storage.len as u64 {
        let (key, expected) = (&storage.key, storage.len);
        return Problem::damaged(format!("the storage `{key}`: expected {expected} elements, found {count}"));
    }
    Ok(position + 8)
}

impl StorageSource for LegacyFile {
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>, Problem> {
        let Some(offset) = self.offsets.get(&*storage.key) else {
            return Problem::damaged(format!("the storage `{}` is missing", storage.key));
        };
        // The end of the storage was compared with the end of the file.
        let mut bytes = vec![0; bytes_of(storage)?];
        let read = self.file.seek(SeekFrom::Start(*offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|error| Problem::Damaged(format!("the storage `{}`: {error}", storage.key)))?;
        Ok(bytes)
    }
}
