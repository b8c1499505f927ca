//! Detection of file formats by the first bytes of a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::cifar_binary::Cifar;
use crate::error::DataError;

/// The formats of files that hold images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Image,
    Idx {
        gzip: bool,
    },
    CifarBinary(Cifar),
    Parquet,
    Zip,
    Tar {
        gzip: bool,
    },
    /// A file without images, such as labels or text.
    Other,
}

/// The number of bytes that are examined. The magic number of a tar file is the last one, at byte 257.
const HEAD_LEN: u64 = 512;

/// The format of the file at `path`. CIFAR-10 and CIFAR-100 binary files have no magic number: they are recognized by a
/// name that ends in `.bin` and a length that is a whole number of records.
///
/// # Errors
/// [`DataError`] when the file cannot be read, or when it is compressed and too corrupt to recognize the format.
pub(crate) fn file_kind(path: &Path) -> Result<FileKind, DataError> {
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD_LEN).read_to_end(&mut head).map_err(DataError::io(path))?;
    if head.starts_with(&[0x1f, 0x8b]) {
        let file = File::open(path).map_err(DataError::io(path))?;
        let mut inner = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(file).take(HEAD_LEN).read_to_end(&mut inner);
        // A corrupt stream ends early. If the bytes before the corruption tell the format, its reader reports the
        // error.
        return match (kind_of_bytes(&inner, true), read) {
            (FileKind::Other, Err(error)) => Err(DataError::invalid(path.display(), format!("damaged gzip: {error}"))),
            (kind, _) => Ok(kind),
        };
    }
    let len = file.metadata().map_err(DataError::io(path))?.len();
    let has_whole_records = |format: &Cifar| len > 0 && len.is_multiple_of(format.record_len() as u64);
    let cifar = Cifar::ALL.into_iter().find(has_whole_records).filter(|_| path.extension().is_some_and(|e| e == "bin"));
    Ok(match kind_of_bytes(&head, false) {
        FileKind::Other => cifar.map_or(FileKind::Other, FileKind::CifarBinary),
        kind => kind,
    })
}

fn kind_of_bytes(head: &[u8], gzip: bool) -> FileKind {
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

/// Whether a file that starts with these bytes is an image in a supported format.
pub(crate) fn is_image(head: &[u8]) -> bool {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    image::guess_format(head).is_ok_and(|format| matches!(format, Png | Jpeg | WebP | Gif | Bmp | Tiff))
}
