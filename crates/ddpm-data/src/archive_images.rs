//! The images of an archive while it is read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::decode::MAX_ENCODED_BYTES;
use crate::decompression_limit::check_ratio;
use crate::encoded_images::EncodedImages;
use crate::error::DataError;
use crate::file_kind::is_image;
use crate::folder_labels::folder_labels;
use crate::labels::FileLabels;

/// The number of bytes that [`is_image`] needs.
const HEAD_LEN: u64 = 64;

/// The images found so far, and the number of bytes that were decompressed.
pub(crate) struct ArchiveImages<'a> {
    path: &'a Path,
    archive_bytes: u64,
    decompressed_bytes: u64,
    images: EncodedImages,
    /// The name of each image in the archive.
    names: Vec<String>,
}

impl<'a> ArchiveImages<'a> {
    /// No images yet, of the archive `file` at `path`.
    ///
    /// # Errors
    /// [`DataError::Io`] when the length of the file cannot be read.
    pub(crate) fn new(path: &'a Path, file: &File) -> Result<Self, DataError> {
        let archive_bytes = file.metadata().map_err(DataError::io(path))?.len();
        Ok(Self { path, archive_bytes, decompressed_bytes: 0, images: EncodedImages::new(), names: Vec::new() })
    }

    /// Adds an entry if it is an image.
    ///
    /// # Errors
    /// [`DataError`] when the entry cannot be decompressed or is too large.
    pub(crate) fn add_entry(&mut self, name: &str, mut entry: impl Read) -> Result<(), DataError> {
        let full_name = format!("{}:{name}", self.path.display());
        let invalid = |error: std::io::Error| DataError::invalid(&full_name, error);
        let mut bytes = Vec::new();
        entry.by_ref().take(HEAD_LEN).read_to_end(&mut bytes).map_err(invalid)?;
        // Hidden files are left out: macOS adds thumbnails with such names to archives.
        if !is_image(&bytes) || name.rsplit('/').next().is_some_and(|file| file.starts_with('.')) {
            return Ok(());
        }
        entry.take(MAX_ENCODED_BYTES).read_to_end(&mut bytes).map_err(invalid)?;
        if bytes.len() as u64 > MAX_ENCODED_BYTES {
            let problem = format!("more than {} MiB for one image", MAX_ENCODED_BYTES >> 20);
            return Err(DataError::invalid(full_name, problem));
        }
        self.add_bytes(bytes.len() as u64)?;
        self.names.push(name.to_owned());
        self.images.push(full_name, &bytes)
    }

    /// Counts bytes that were decompressed.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the archive is a decompression bomb.
    pub(crate) fn add_bytes(&mut self, bytes: u64) -> Result<(), DataError> {
        self.decompressed_bytes = self.decompressed_bytes.saturating_add(bytes);
        check_ratio(self.path, self.archive_bytes, self.decompressed_bytes)
    }

    /// The images, with the folders in which they are as their classes.
    pub(crate) fn into_labeled(self) -> (EncodedImages, FileLabels) {
        let labels = folder_labels(self.names.iter().map(Path::new));
        (self.images, labels)
    }
}
