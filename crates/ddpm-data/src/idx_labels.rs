//! IDX files of labels, which accompany those of images: `train-labels-idx1-ubyte` beside `train-images-idx3-ubyte`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::DataError;
use crate::labels::FileLabels;

/// The first bytes of a file of unsigned bytes with one dimension.
const MAGIC: [u8; 4] = [0, 0, 8, 1];

/// The file of the labels for the images at `path`, if there is one: the name with `labels` and `idx1` instead of
/// `images` and `idx3`, uncompressed or compressed.
pub(crate) fn labels_path(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let labels = plain.replace("images", "labels").replace("idx3", "idx1");
    if labels == plain {
        return None;
    }
    let candidates = [path.with_file_name(&labels), path.with_file_name(format!("{labels}.gz"))];
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// Reads the labels of `images` images.
///
/// # Errors
/// [`DataError`] when the file has another format or another number of labels.
pub(crate) fn read_idx_labels(path: &Path, images: usize) -> Result<FileLabels, DataError> {
    let invalid = |problem: String| DataError::invalid(path.display(), problem);
    let mut head = [0; 2];
    let is_gzip = File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == [0x1f, 0x8b];
    let file = BufReader::new(File::open(path).map_err(DataError::io(path))?);
    let mut input: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut header = [0; 8];
    input.read_exact(&mut header).map_err(|error| invalid(format!("the header: {error}")))?;
    let [m0, m1, m2, m3, n0, n1, n2, n3] = header;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(invalid(format!("expected IDX labels, magic {MAGIC:02x?}, found {:02x?}", &header[..4])));
    }
    let declared = u32::from_be_bytes([n0, n1, n2, n3]) as usize;
    if declared != images {
        return Err(invalid(format!("expected {images} labels, one for each image, found {declared}")));
    }
    // One additional byte reveals a file that is too long.
    let mut labels = Vec::new();
    let read = input.take(images as u64 + 1).read_to_end(&mut labels);
    read.map_err(|error| invalid(error.to_string()))?;
    if labels.len() != images {
        let found = if labels.len() > images { "more".to_owned() } else { labels.len().to_string() };
        return Err(invalid(format!("the header declares {images} labels; found {found}")));
    }
    Ok(FileLabels::numbers(labels.into_iter().map(u32::from)))
}
