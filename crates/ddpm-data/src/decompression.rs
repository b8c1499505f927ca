//! How much a compressed file may come to.

use std::path::Path;

use crate::DataError;

/// A file whose contents are this many times its size, and beyond [`SMALL`], is a decompression bomb: images hardly
/// compress.
const MAX_RATIO: u64 = 200;
const SMALL: u64 = 1 << 30;

/// Whether `packed` bytes may come to `unpacked`.
///
/// # Errors
/// When they are too many: the file at `path` is a decompression bomb.
pub(crate) fn check_ratio(path: &Path, packed: u64, unpacked: u64) -> Result<(), DataError> {
    if unpacked > SMALL.max(packed.saturating_mul(MAX_RATIO)) {
        let problem =
            format!("{packed} bytes unpack to at least {unpacked}, over {MAX_RATIO} times: a decompression bomb");
        return Err(DataError::damaged(path.display(), problem));
    }
    Ok(())
}
