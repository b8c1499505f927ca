//! The format of `torch.save` since PyTorch 1.6: a zip archive with the pickle `NAME/data.pkl` and a file
//! `NAME/data/KEY` for each storage, all without compression.

use std::fs::File;
use std::io::Read;

use zip::{CompressionMethod, ZipArchive};

use crate::pth::arena::Storage;
use crate::pth::interpreter::Interpreter;
use crate::pth::problem::Problem;
use crate::pth::state_dict::state_dict;
use crate::pth::storage_source::{Contents, StorageSource, bytes_of};

const MAX_PICKLE_BYTES: u64 = 1 << 24;

/// An archive with storages.
#[derive(Debug)]
pub(crate) struct ZipFile {
    archive: ZipArchive<File>,
    /// The folder that holds everything.
    folder: String,
    /// The length of the file, which no entry exceeds.
    length: u64,
}

/// Reads the description of the tensors.
pub(crate) fn open_zip(file: File, length: u64) -> Result<Contents, Problem> {
    let archive = ZipArchive::new(file).map_err(|error| Problem::Damaged(format!("the archive: {error}")))?;
    let folder = archive.file_names().flatten().find_map(|name| Some(name.strip_suffix("/data.pkl")?.to_owned()));
    let Some(folder) = folder else { return Problem::damaged("the archive has no entry data.pkl") };
    let mut file = ZipFile { archive, folder, length };
    if let Ok(order) = file.entry("byteorder", MAX_PICKLE_BYTES)
        && order != b"little"
    {
        return Problem::damaged("expected little-endian numbers, found big-endian ones");
    }
    let pickle = file.entry("data.pkl", MAX_PICKLE_BYTES)?;
    let mut interpreter = Interpreter::new(&pickle);
    let root = interpreter.run()?;
    let tensors = state_dict(&interpreter.arena, root)?;
    Ok(Contents { tensors, source: Box::new(file) })
}

impl ZipFile {
    /// The bytes of an entry.
    fn entry(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        let damaged = |problem: String| Problem::Damaged(format!("the entry {name} of the archive: {problem}"));
        let path = format!("{}/{name}", self.folder);
        let mut entry = self.archive.by_name(&path).map_err(|error| damaged(error.to_string()))?;
        let size = entry.size();
        if entry.compression() != CompressionMethod::Stored || size > limit.min(self.length) {
            let expected = format!("expected at most {} bytes without compression", limit.min(self.length));
            return Err(damaged(format!("{expected}, found {size} bytes, {}", entry.compression())));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
        Ok(bytes)
    }
}

impl StorageSource for ZipFile {
    fn read(&mut self, storage: &Storage) -> Result<Vec<u8>, Problem> {
        let expected = bytes_of(storage)?;
        let bytes = self.entry(&format!("data/{}", storage.key), u64::MAX)?;
        if bytes.len() != expected {
            let (key, found) = (&storage.key, bytes.len());
            return Problem::damaged(format!("the storage `{key}`: expected {expected} bytes, found {found}"));
        }
        Ok(bytes)
    }
}
