//! A folder of image files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::decode::{MAX_ENCODED, decode};
use crate::error::one_line;
use crate::{DataError, Image, ImageSource};

/// Image files by path.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) Vec<PathBuf>);

impl ImageSource for Folder {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> String {
        one_line(self.0[index].display())
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let path = &self.0[index];
        let len = std::fs::metadata(path).map_err(DataError::io(path))?.len();
        if len > MAX_ENCODED {
            return Err(DataError::damaged(
                path.display(),
                format!("more than {} MiB for one image", MAX_ENCODED >> 20),
            ));
        }
        decode(&std::fs::read(path).map_err(DataError::io(path))?, &self.name(index))
    }
}

/// Every file below a directory, in the order of their paths. Hidden files and folders are left out; links are followed,
/// a folder that was seen already is not entered again.
pub(crate) fn files_below(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut seen = BTreeSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !seen.insert(folder.canonicalize().map_err(DataError::io(&folder))?) {
            continue;
        }
        for entry in std::fs::read_dir(&folder).map_err(DataError::io(&folder))? {
            let entry = entry.map_err(DataError::io(&folder))?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = entry.path();
            // A link that leads nowhere is no file.
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) if metadata.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    Ok(files)
}
