//! IDX files, the format of MNIST: a magic number, the sizes of the dimensions, then the samples.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::byte_storage::ByteStorage;
use crate::decode::{MAX_DECODED_BYTES, MAX_SIDE};
use crate::decompression_limit::check_ratio;
use crate::error::DataError;
use crate::raw_images::RawImages;

/// The number of bytes before the first sample.
const HEADER_LEN: u64 = 16;

/// Reads an IDX file of unsigned bytes with the dimensions [image, height, width], uncompressed or compressed with
/// gzip. The samples of an uncompressed file stay in the file; those of a compressed file go to a temporary file.
///
/// # Errors
/// [`DataError`] when the file has another format, its images are too large, its length differs from what its header
/// says, or it is a decompression bomb.
pub(crate) fn read_idx(path: &Path, gzip: bool) -> Result<RawImages, DataError> {
    let name = path.display().to_string();
    let invalid = |problem: String| DataError::invalid(&name, problem);
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let compressed = file.metadata().map_err(DataError::io(path))?.len();
    let (start, bytes, header) = if gzip {
        let mut input = MultiGzDecoder::new(BufReader::new(file));
        let header = Header::read(&mut input).map_err(&invalid)?;
        check_ratio(path, compressed, header.samples)?;
        // One additional byte reveals a file that is too long.
        let input = input.take(header.samples + 1);
        (0, copy_to_disk(input, &name)?, header)
    } else {
        let header = Header::read(&mut file).map_err(&invalid)?;
        (HEADER_LEN, ByteStorage::from_file(path.to_path_buf(), file)?, header)
    };
    let Header { images, height, width, samples } = header;
    let found = bytes.len() - start;
    if found != samples {
        let found = if found > samples { "more".to_string() } else { found.to_string() };
        return Err(invalid(format!(
            "the header declares {images} images of {height}×{width}, {samples} bytes; found {found}"
        )));
    }
    let record_len = height as usize * width as usize;
    let (width, height) = (width as usize, height as usize);
    Ok(RawImages { name, bytes, first_record: start, record_len, image_offset: 0, width, height, channels: 1 })
}

/// Copies everything that `input` still holds to a temporary file.
fn copy_to_disk(mut input: impl Read, name: &str) -> Result<ByteStorage, DataError> {
    let mut bytes = ByteStorage::on_disk();
    let mut part = vec![0; 1 << 16];
    loop {
        match input.read(&mut part).map_err(|error| DataError::invalid(name, error))? {
            0 => return Ok(bytes),
            n => bytes.push(&part[..n])?,
        }
    }
}

/// The header of an IDX file of images.
struct Header {
    images: u32,
    height: u32,
    width: u32,
    /// The number of samples: images · height · width.
    samples: u64,
}

impl Header {
    fn read(input: &mut impl Read) -> Result<Self, String> {
        let mut word = || -> Result<[u8; 4], String> {
            let mut word = [0; 4];
            input.read_exact(&mut word).map_err(|error| format!("the header: {error}"))?;
            Ok(word)
        };
        let magic = word()?;
        if magic != [0, 0, 8, 3] {
            return Err(format!("expected IDX images of bytes, magic 00 00 08 03, found {magic:02x?}"));
        }
        let [images, height, width] =
            [u32::from_be_bytes(word()?), u32::from_be_bytes(word()?), u32::from_be_bytes(word()?)];
        let declared = format!("the header declares {images} images of {height}×{width}");
        let pixels = u64::from(height) * u64::from(width);
        let samples = pixels.checked_mul(u64::from(images)).filter(|samples| *samples > 0);
        let Some(samples) = samples else { return Err(declared) };
        if height.max(width) > MAX_SIDE || pixels > MAX_DECODED_BYTES {
            let most = MAX_DECODED_BYTES >> 20;
            return Err(format!("{declared}; expected sides of at most {MAX_SIDE} and at most {most} MiB per image"));
        }
        Ok(Self { images, height, width, samples })
    }
}
