//! Identifies a set of images by the names and sizes of its files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::DataError;

/// Identifies a set of images by the names and sizes of its files, relative to the path that was opened: the same files
/// in another folder have the same fingerprint. The contents of the files are not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFingerprint {
    /// The number of images.
    pub images: u64,
    /// The number of files that hold them.
    pub files: u64,
    /// The total size of the files in bytes.
    pub bytes: u64,
    /// The SHA-256 of names and sizes, as 64 lower-case hexadecimal digits.
    pub names_sha256: String,
}

impl DataFingerprint {
    /// The fingerprint of `images` images in the given files, which `name_of` gives their names.
    ///
    /// # Errors
    /// [`DataError::Io`] when the size of a file cannot be read.
    pub(crate) fn of_files(
        images: usize,
        files: &[PathBuf],
        name_of: impl Fn(&Path) -> &Path,
    ) -> Result<Self, DataError> {
        let mut listing = Listing::new();
        for path in files {
            let bytes = std::fs::metadata(path).map_err(DataError::io(path))?.len();
            listing.add(name_of(path), bytes);
        }
        Ok(listing.finish(images))
    }

    /// The fingerprint of a set that is one block of bytes in the program.
    pub(crate) fn of_embedded(images: usize, name: &str, bytes: u64) -> Self {
        let mut listing = Listing::new();
        listing.add(Path::new(name), bytes);
        listing.finish(images)
    }
}

/// Identifies the bytes of files, without reading them, by their names, sizes and times of modification.
///
/// # Errors
/// [`DataError::Io`] when the properties of a file cannot be read.
pub(crate) fn content_key(files: &[PathBuf], name_of: impl Fn(&Path) -> &Path) -> Result<String, DataError> {
    let mut listing = Listing::new();
    for path in files {
        let metadata = std::fs::metadata(path).map_err(DataError::io(path))?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        listing.add(name_of(path), metadata.len());
        listing.hasher.update(modified.map_or(0, |time| time.as_nanos()).to_le_bytes());
    }
    Ok(listing.finish(files.len()).names_sha256)
}

/// `1797 images in 1 file of 1234 bytes`
impl fmt::Display for DataFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, files, bytes, .. } = self;
        let plural = |n: u64| if n == 1 { "" } else { "s" };
        write!(f, "{images} image{} in {files} file{} of {bytes} bytes", plural(*images), plural(*files))
    }
}

/// A fingerprint that is being computed.
struct Listing {
    files: u64,
    bytes: u64,
    hasher: Sha256,
}

impl Listing {
    fn new() -> Self {
        Self { files: 0, bytes: 0, hasher: Sha256::new() }
    }

    fn add(&mut self, name: &Path, bytes: u64) {
        let name = name.as_os_str().as_encoded_bytes();
        // The length of the name separates it from what follows, so that no two lists give the same bytes.
        self.hasher.update((name.len() as u64).to_le_bytes());
        self.hasher.update(name);
        self.hasher.update(bytes.to_le_bytes());
        self.files += 1;
        self.bytes += bytes;
    }

    fn finish(self, images: usize) -> DataFingerprint {
        let names_sha256 = self.hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        DataFingerprint { images: images as u64, files: self.files, bytes: self.bytes, names_sha256 }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_and_sizes_determine_the_fingerprint() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str, files: &[(&str, usize)]| {
            let folder = root.path().join(name);
            fs::create_dir(&folder).unwrap();
            let paths: Vec<PathBuf> = files.iter().map(|(file, _)| folder.join(file)).collect();
            for (path, (_, len)) in paths.iter().zip(files) {
                fs::write(path, vec![0; *len]).unwrap();
            }
            DataFingerprint::of_files(files.len(), &paths, |path| path.strip_prefix(&folder).unwrap()).unwrap()
        };
        let first = folder("a", &[("x.png", 3), ("y.png", 4)]);
        assert_eq!(first.to_string(), "2 images in 2 files of 7 bytes");
        assert_eq!(first, folder("b", &[("x.png", 3), ("y.png", 4)]));
        assert_ne!(first, folder("c", &[("x.png", 4), ("y.png", 3)]));
        assert_ne!(first, folder("d", &[("x.png", 3), ("z.png", 4)]));
        assert_ne!(first, folder("e", &[("x.png", 3)]));
    }
}
