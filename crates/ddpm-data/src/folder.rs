//! A folder of image files.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::decode::{MAX_ENCODED_BYTES, decode};
use crate::decode_request::DecodeRequest;
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
        self.decode_as(index, &mut DecodeRequest::full_size())
    }

    fn decode_as(&self, index: usize, request: &mut DecodeRequest<'_>) -> Result<Image, DataError> {
        decode(&read_image_file(&self.0[index])?, &self.name(index), request)
    }
}

/// Reads a file that may have been replaced since the folder was listed, by something that never ends.
fn read_image_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let metadata = std::fs::metadata(path).map_err(DataError::io(path))?;
    if !metadata.is_file() {
        return Err(DataError::invalid(path.display(), "expected a file, found a folder, a pipe or a device"));
    }
    let file = std::fs::File::open(path).map_err(DataError::io(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_ENCODED_BYTES + 1).read_to_end(&mut bytes).map_err(DataError::io(path))?;
    if bytes.len() as u64 > MAX_ENCODED_BYTES {
        let problem = format!("more than {} MiB for one image", MAX_ENCODED_BYTES >> 20);
        return Err(DataError::invalid(path.display(), problem));
    }
    Ok(bytes)
}

/// Every file below a directory, sorted by path. Hidden files and directories are left out. Symbolic links are
/// followed; a directory is entered only once, so cycles of links end.
pub(crate) fn files_below(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let (mut files, mut broken) = (Vec::new(), Vec::new());
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
            match std::fs::metadata(&path) {
                // A link whose target does not exist.
                Err(_) => broken.push(path),
                Ok(metadata) if metadata.is_dir() => folders.push(path),
                Ok(metadata) if metadata.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    if let Some(first) = broken.iter().min() {
        let count = broken.len();
        warn!("links whose target does not exist are left out, {count}: {}, …", one_line(first.display()));
    }
    Ok(files)
}
