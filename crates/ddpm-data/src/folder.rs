//! A folder of image files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::decode::{MAX_ENCODED_BYTES, decode};
use crate::error::{DataError, one_line};
use crate::image::Image;
use crate::image_source::ImageSource;

/// Image files, by their paths.
#[derive(Debug)]
pub(crate) struct ImageFiles(pub(crate) Vec<PathBuf>);

impl ImageSource for ImageFiles {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn name(&self, index: usize) -> String {
        one_line(self.0[index].display())
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let path = &self.0[index];
        let len = std::fs::metadata(path).map_err(DataError::io(path))?.len();
        if len > MAX_ENCODED_BYTES {
            let problem = format!("more than {} MiB for one image", MAX_ENCODED_BYTES >> 20);
            return Err(DataError::invalid(path.display(), problem));
        }
        decode(&std::fs::read(path).map_err(DataError::io(path))?, &self.name(index))
    }
}

/// Every file below a directory, sorted by path. Hidden files and directories are left out. Symbolic links are
/// followed; a directory is entered only once, so cycles of links end.
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
            // Broken links have no metadata and are left out.
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
