//! IDX files, MNIST's format: a magic number, the sizes of the axes, then the samples.

use std::io::Read;

use crate::DataError;
use crate::raw_records::RawRecords;

/// Reads a file of images, [image, height, width] or [image, height, width, 3] of unsigned bytes, from its first byte.
/// `input` is plain, whatever the file was.
///
/// # Errors
/// When it is something else, or its length is not what its header says.
pub(crate) fn read_idx(mut input: impl Read, name: &str) -> Result<RawRecords, DataError> {
    let damaged = |problem: String| DataError::damaged(name, problem);
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(|error| damaged(format!("its header: {error}")))?;
    let axes = usize::from(magic[3]);
    if magic[..3] != [0, 0, 8] || axes != 3 {
        return Err(damaged(format!("expected IDX images of bytes, magic 00 00 08 03, found {magic:02x?}")));
    }
    let mut sizes = [0; 3];
    for size in &mut sizes {
        let mut bytes = [0; 4];
        input.read_exact(&mut bytes).map_err(|error| damaged(format!("its header: {error}")))?;
        *size = u32::from_be_bytes(bytes) as usize;
    }
    let [images, height, width] = sizes;
    let expected = images.checked_mul(height).and_then(|n| n.checked_mul(width)).filter(|n| *n > 0);
    let Some(expected) = expected else {
        return Err(damaged(format!("its header promises {images} images of {height}×{width}")));
    };
    // Memory grows with what is really there: a header that lies costs nothing. One byte more shows a file too long.
    let mut bytes = Vec::new();
    input.take(expected as u64 + 1).read_to_end(&mut bytes).map_err(|error| damaged(error.to_string()))?;
    if bytes.len() != expected {
        let found = if bytes.len() > expected { "more".to_string() } else { bytes.len().to_string() };
        return Err(damaged(format!(
            "its header promises {images} images of {height}×{width}, {expected} bytes; found {found}"
        )));
    }
    Ok(RawRecords { name: name.to_string(), bytes, stride: height * width, skip: 0, width, height, channels: 1 })
}
