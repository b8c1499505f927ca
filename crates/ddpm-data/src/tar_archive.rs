//! Tar archives of images.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::archive_images::ArchiveImages;
use crate::encoded_images::EncodedImages;
use crate::error::DataError;
use crate::labels::FileLabels;

/// The largest size of an entry that only names or describes the next entry, in bytes.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// Reads every image of a tar archive, uncompressed or compressed with gzip. The names of its entries appear in
/// messages only; they are never used as paths.
///
/// # Errors
/// [`DataError`] when the archive cannot be read, is corrupt or truncated, or is a decompression bomb.
pub(crate) fn read_tar(path: &Path, gzip: bool) -> Result<(EncodedImages, FileLabels), DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut images = ArchiveImages::new(path, &file)?;
    let input = BufReader::new(file);
    let input: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) };
    let mut archive = tar::Archive::new(EndDetector { input, ended: false });
    let invalid = |error: std::io::Error| DataError::invalid(path.display(), error);
    // Raw mode: otherwise the reader of the tar crate reads long names and extensions into memory, regardless of their
    // size.
    let mut long_name = None;
    for entry in archive.entries().map_err(invalid)?.raw(true) {
        let mut entry = entry.map_err(invalid)?;
        images.add_bytes(entry.size())?;
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() {
            let size = entry.size();
            if size > MAX_EXTENSION_BYTES {
                let problem =
                    format!("expected a name or extension of at most {MAX_EXTENSION_BYTES} bytes, found {size}");
                return Err(DataError::invalid(path.display(), problem));
            }
            long_name = name_in(&mut entry).map_err(invalid)?.or(long_name);
            continue;
        }
        let entry_name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        if kind.is_file() {
            images.add_entry(&String::from_utf8_lossy(&entry_name), entry)?;
        }
    }
    let mut input = archive.into_inner();
    if input.ended {
        let problem = "expected a block of zeros at its end, found none: the end is missing";
        return Err(DataError::invalid(path.display(), problem));
    }
    // The checksum of gzip comes last: reading to the end verifies it.
    let mut rest = vec![0; 1 << 16];
    loop {
        match input.read(&mut rest).map_err(invalid)? {
            0 => return Ok(images.into_labeled()),
            n => images.add_bytes(n as u64)?,
        }
    }
}

/// Records whether its input has ended. A tar archive marks its end with blocks of zeros, so if the input ends
/// before them, the archive is truncated.
struct EndDetector<R> {
    input: R,
    ended: bool,
}

impl<R: Read> Read for EndDetector<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

/// The name that this entry holds for the next entry, whose header has no room for it.
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
