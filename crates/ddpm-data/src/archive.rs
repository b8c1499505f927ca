//! Zip and tar files of images.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::DataError;
use crate::byte_store::ByteStore;
use crate::file_kind::is_picture;

/// The largest picture file in an archive, in bytes.
const MAX_ENTRY: u64 = 256 << 20;
/// An archive whose contents are this many times its size, and beyond [`SMALL`], is a decompression bomb: pictures hardly
/// compress.
const MAX_RATIO: u64 = 200;
const SMALL: u64 = 1 << 30;

/// Reads every picture of a zip file. Names out of the archive are shown, never followed.
pub(crate) fn read_zip(path: &Path) -> Result<ByteStore, DataError> {
    let name = path.display().to_string();
    let damaged = |error: zip::result::ZipError| DataError::damaged(&name, error);
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut collected = Collected::new(path, &file)?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    for i in 0..zip.len() {
        let entry = zip.by_index(i).map_err(damaged)?;
        if entry.is_file() {
            let own = String::from_utf8_lossy(entry.name_raw()).into_owned();
            collected.take(&own, entry)?;
        }
    }
    Ok(collected.store)
}

/// Reads every picture of a tar file, plain or compressed with gzip.
pub(crate) fn read_tar(path: &Path, gzip: bool) -> Result<ByteStore, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut collected = Collected::new(path, &file)?;
    let input = BufReader::new(file);
    let input: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) };
    let damaged = |error: std::io::Error| DataError::damaged(path.display(), error);
    for entry in tar::Archive::new(input).entries().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let own = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        collected.passed += entry.size();
        collected.check_ratio()?;
        if entry.header().entry_type().is_file() {
            collected.take(&own, entry)?;
        }
    }
    Ok(collected.store)
}

/// Pictures found so far, and how much came out of the archive.
struct Collected<'a> {
    path: &'a Path,
    archive_bytes: u64,
    passed: u64,
    store: ByteStore,
}

impl<'a> Collected<'a> {
    fn new(path: &'a Path, file: &File) -> Result<Self, DataError> {
        let archive_bytes = file.metadata().map_err(DataError::io(path))?.len();
        Ok(Self { path, archive_bytes, passed: 0, store: ByteStore::new() })
    }

    /// Takes an entry if it is a picture.
    fn take(&mut self, name: &str, mut entry: impl Read) -> Result<(), DataError> {
        let full = format!("{}:{name}", self.path.display());
        let damaged = |error: std::io::Error| DataError::damaged(&full, error);
        let mut bytes = Vec::new();
        entry.by_ref().take(64).read_to_end(&mut bytes).map_err(damaged)?;
        // Thumbnails that macOS puts beside files are no pictures of the set.
        if !is_picture(&bytes) || name.rsplit('/').next().is_some_and(|file| file.starts_with('.')) {
            return Ok(());
        }
        entry.take(MAX_ENTRY).read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() as u64 > MAX_ENTRY {
            return Err(DataError::damaged(full, format!("more than {} MiB for one picture", MAX_ENTRY >> 20)));
        }
        self.passed += bytes.len() as u64;
        self.check_ratio()?;
        self.store.push(full, &bytes)
    }

    fn check_ratio(&self) -> Result<(), DataError> {
        if self.passed > SMALL.max(self.archive_bytes.saturating_mul(MAX_RATIO)) {
            let problem = format!("unpacks to over {MAX_RATIO} times its size: a decompression bomb");
            return Err(DataError::damaged(self.path.display(), problem));
        }
        Ok(())
    }
}
