//! Zip and tar files of images.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::DataError;
use crate::byte_store::ByteStore;
use crate::decode::MAX_ENCODED;
use crate::decompression::check_ratio;
use crate::file_kind::is_image;

/// The most that an entry may take that only names or describes the one after it, in bytes.
const MAX_EXTENSION: u64 = 1 << 20;

/// Reads every image of a zip file. Names out of the archive are shown, never followed.
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

/// Reads every image of a tar file, plain or compressed with gzip.
pub(crate) fn read_tar(path: &Path, gzip: bool) -> Result<ByteStore, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut collected = Collected::new(path, &file)?;
    let input = BufReader::new(file);
    let input: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) };
    let mut archive = tar::Archive::new(UntilEnd { input, ended: false });
    let damaged = |error: std::io::Error| DataError::damaged(path.display(), error);
    // Raw: left to itself, the reader takes long names and extensions into memory, whatever their size.
    let mut long_name = None;
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        collected.pass(entry.size())?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let size = entry.size();
            if size > MAX_EXTENSION {
                let problem = format!("expected a name or extension of at most {MAX_EXTENSION} bytes, found {size}");
                return Err(DataError::damaged(path.display(), problem));
            }
            long_name = name_in(&mut entry).map_err(damaged)?.or(long_name);
            continue;
        }
        let own = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        if kind.is_file() {
            collected.take(&String::from_utf8_lossy(&own), entry)?;
        }
    }
    let mut input = archive.into_inner();
    if input.ended {
        let problem = "expected a block of zeros at its end, found none: the end is missing";
        return Err(DataError::damaged(path.display(), problem));
    }
    // gzip's checksum comes last.
    let mut rest = vec![0; 1 << 16];
    loop {
        match input.read(&mut rest).map_err(damaged)? {
            0 => return Ok(collected.store),
            n => collected.pass(n as u64)?,
        }
    }
}

/// Knows whether its input has come to an end: a tar file says where it ends before it does.
struct UntilEnd<R> {
    input: R,
    ended: bool,
}

impl<R: Read> Read for UntilEnd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// The name that an entry holds for the one after it, where a header has no room for it.
fn name_in(entry: &mut tar::Entry<'_, impl Read>) -> std::io::Result<Option<Vec<u8>>> {
    if entry.header().entry_type().is_gnu_longname() {
        let mut name = Vec::new();
        entry.read_to_end(&mut name)?;
        return Ok(name.split(|byte| *byte == 0).next().map(<[u8]>::to_vec));
    }
    let mut name = None;
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if extension.key_bytes() == b"path" {
            name = Some(extension.value_bytes().to_vec());
        }
    }
    Ok(name)
}

/// Images found so far, and how much came out of the archive.
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

    /// Takes an entry if it is an image.
    fn take(&mut self, name: &str, mut entry: impl Read) -> Result<(), DataError> {
        let full = format!("{}:{name}", self.path.display());
        let damaged = |error: std::io::Error| DataError::damaged(&full, error);
        let mut bytes = Vec::new();
        entry.by_ref().take(64).read_to_end(&mut bytes).map_err(damaged)?;
        // Thumbnails that macOS puts beside files are no images of the set.
        if !is_image(&bytes) || name.rsplit('/').next().is_some_and(|file| file.starts_with('.')) {
            return Ok(());
        }
        entry.take(MAX_ENCODED).read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() as u64 > MAX_ENCODED {
            return Err(DataError::damaged(full, format!("more than {} MiB for one image", MAX_ENCODED >> 20)));
        }
        self.pass(bytes.len() as u64)?;
        self.store.push(full, &bytes)
    }

    /// Counts what came out of the archive.
    fn pass(&mut self, bytes: u64) -> Result<(), DataError> {
        self.passed = self.passed.saturating_add(bytes);
        check_ratio(self.path, self.archive_bytes, self.passed)
    }
}
