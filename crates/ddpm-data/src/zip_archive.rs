//! Zip archives of images.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::archive_images::ArchiveImages;
use crate::encoded_images::EncodedImages;
use crate::error::DataError;
use crate::labels::FileLabels;

/// Reads every image of a zip archive. The names of its entries appear in messages and
/// name classes; they are never used as paths.
///
/// # Errors
/// [`DataError`] when the archive cannot be read, is corrupt, or is a decompression bomb.
pub(crate) fn read_zip(path: &Path) -> Result<(EncodedImages, FileLabels), DataError> {
    let name = path.display().to_string();
    let invalid = |error: zip::result::ZipError| DataError::invalid(&name, error);
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut images = ArchiveImages::new(path, &file)?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(invalid)?;
    for i in 0..zip.len() {
        let entry = zip.by_index(i).map_err(invalid)?;
        if entry.is_file() {
            let entry_name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            images.add_entry(&entry_name, entry)?;
        }
    }
    Ok(images.into_labeled())
}
