//! What a file is, read off its first bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::DataError;
use crate::cifar_binary::RECORD;

/// The kinds of files that hold images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Image,
    Idx {
        gzip: bool,
    },
    CifarBinary,
    Parquet,
    Zip,
    Tar {
        gzip: bool,
    },
    /// Labels, text, anything else.
    Other,
}

/// Enough for a tar header's magic.
const HEAD: u64 = 512;

/// What the file at `path` is. CIFAR-10's records have no magic number: a name that ends in `.bin` and a length of whole
/// records tell them.
///
/// # Errors
/// When it cannot be read, or is compressed and damaged before it tells its kind.
pub(crate) fn file_kind(path: &Path) -> Result<FileKind, DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(DataError::io(path))?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let file = File::open(path).map_err(DataError::io(path))?;
        let mut inner = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(file).take(HEAD).read_to_end(&mut inner);
        // A damaged stream ends early: what came before it may still tell the kind, whose reader then meets the damage.
        return match (plain_kind(&inner, true), read) {
            (FileKind::Other, Err(error)) => Err(DataError::damaged(path.display(), format!("damaged gzip: {error}"))),
            (kind, _) => Ok(kind),
        };
    }
    let len = file.metadata().map_err(DataError::io(path))?.len();
    let records = len > 0 && len.is_multiple_of(RECORD as u64);
    Ok(match plain_kind(&head, false) {
        FileKind::Other if records && path.extension().is_some_and(|e| e == "bin") => FileKind::CifarBinary,
        kind => kind,
    })
}

fn plain_kind(head: &[u8], gzip: bool) -> FileKind {
    match head {
        [0, 0, 8, 3, ..] => FileKind::Idx { gzip },
        _ if head.get(257..262) == Some(b"ustar") => FileKind::Tar { gzip },
        _ if gzip => FileKind::Other,
        [b'P', b'A', b'R', b'1', ..] => FileKind::Parquet,
        [b'P', b'K', 3, 4, ..] => FileKind::Zip,
        _ if is_image(head) => FileKind::Image,
        _ => FileKind::Other,
    }
}

/// Whether a file of these first bytes is an image of a format that is read.
pub(crate) fn is_image(head: &[u8]) -> bool {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    image::guess_format(head).is_ok_and(|format| matches!(format, Png | Jpeg | WebP | Gif | Bmp | Tiff))
}
