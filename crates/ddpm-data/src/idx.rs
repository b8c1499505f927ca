//! IDX files, MNIST's format: a magic number, the sizes of the axes, then the samples.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::DataError;
use crate::bytes::Bytes;
use crate::decode::{MAX_ALLOC, MAX_SIDE};
use crate::decompression::check_ratio;
use crate::raw_records::RawRecords;

/// Bytes before the first sample.
const HEADER: u64 = 16;

/// Reads a file of images, [image, height, width] of unsigned bytes, plain or compressed with gzip. Samples stay in the
/// file; compressed ones go to a temporary one.
///
/// # Errors
/// When it is something else, its images are too large, its length is not what its header says, or it is a decompression
/// bomb.
pub(crate) fn read_idx(path: &Path, gzip: bool) -> Result<RawRecords, DataError> {
    let name = path.display().to_string();
    let damaged = |problem: String| DataError::damaged(&name, problem);
    let mut file = File::open(path).map_err(DataError::io(path))?;
    let packed = file.metadata().map_err(DataError::io(path))?.len();
    let (start, bytes, header) = if gzip {
        let mut input = MultiGzDecoder::new(BufReader::new(file));
        let header = Header::read(&mut input).map_err(&damaged)?;
        check_ratio(path, packed, header.samples)?;
        // One byte more shows a file too long.
        let mut input = input.take(header.samples + 1);
        let mut bytes = Bytes::on_disk();
        let mut part = vec![0; 1 << 16];
        loop {
            match input.read(&mut part).map_err(|error| damaged(error.to_string()))? {
                0 => break,
                n => bytes.push(&part[..n])?,
            }
        }
        (0, bytes, header)
    } else {
        let header = Header::read(&mut file).map_err(&damaged)?;
        (HEADER, Bytes::of_file(path.to_path_buf(), file)?, header)
    };
    let Header { images, height, width, samples } = header;
    let found = bytes.len() - start;
    if found != samples {
        let found = if found > samples { "more".to_string() } else { found.to_string() };
        return Err(damaged(format!(
            "its header promises {images} images of {height}×{width}, {samples} bytes; found {found}"
        )));
    }
    let stride = height as usize * width as usize;
    let (width, height) = (width as usize, height as usize);
    Ok(RawRecords { name, bytes, start, stride, skip: 0, width, height, channels: 1 })
}

/// What a file promises.
struct Header {
    images: u32,
    height: u32,
    width: u32,
    /// images · height · width
    samples: u64,
}

impl Header {
    fn read(input: &mut impl Read) -> Result<Self, String> {
        let mut word = || -> Result<[u8; 4], String> {
            let mut word = [0; 4];
            input.read_exact(&mut word).map_err(|error| format!("its header: {error}"))?;
            Ok(word)
        };
        let magic = word()?;
        if magic != [0, 0, 8, 3] {
            return Err(format!("expected IDX images of bytes, magic 00 00 08 03, found {magic:02x?}"));
        }
        let [images, height, width] =
            [u32::from_be_bytes(word()?), u32::from_be_bytes(word()?), u32::from_be_bytes(word()?)];
        let promised = format!("its header promises {images} images of {height}×{width}");
        let pixels = u64::from(height) * u64::from(width);
        let samples = pixels.checked_mul(u64::from(images)).filter(|samples| *samples > 0);
        let Some(samples) = samples else { return Err(promised) };
        if height.max(width) > MAX_SIDE || pixels > MAX_ALLOC {
            let most = MAX_ALLOC >> 20;
            return Err(format!("{promised}; expected sides of at most {MAX_SIDE} and at most {most} MiB an image"));
        }
        Ok(Self { images, height, width, samples })
    }
}
