//! The limit on the size of decompressed data.

use std::path::Path;

use crate::error::DataError;

/// A file that decompresses to more than this many times its size is a decompression bomb, provided that the result
/// exceeds [`ALWAYS_ALLOWED_BYTES`]. Images hardly compress, so an archive of images is far below this ratio.
const MAX_RATIO: u64 = 200;

/// The decompressed size that is always allowed.
const ALWAYS_ALLOWED_BYTES: u64 = 1 << 30;

/// Checks that a file of `compressed` bytes may decompress to `decompressed` bytes.
///
/// # Errors
/// [`DataError::Invalid`] when the file at `path` is a decompression bomb.
pub(crate) fn check_ratio(path: &Path, compressed: u64, decompressed: u64) -> Result<(), DataError> {
    if decompressed > ALWAYS_ALLOWED_BYTES.max(compressed.saturating_mul(MAX_RATIO)) {
        let problem = format!(
            "{compressed} bytes decompress to at least {decompressed} bytes, more than {MAX_RATIO} times as many: \
             the file is a decompression bomb"
        );
        return Err(DataError::invalid(path.display(), problem));
    }
    Ok(())
}
