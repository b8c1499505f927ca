//! CIFAR-10 binary files: records of one label byte and a 32 × 32 RGB image in three planes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::byte_storage::ByteStorage;
use crate::error::DataError;
use crate::raw_images::RawImages;

/// The width and the height of an image, in pixels.
const SIDE: usize = 32;

/// The bytes of a record: one label and 3,072 samples.
pub(crate) const RECORD_LEN: usize = 1 + 3 * SIDE * SIDE;

/// Reads `data_batch_1.bin` or a file of the same format. The samples stay in the file.
///
/// # Errors
/// [`DataError`] when the file cannot be read, its length is not a whole number of records, or a label is not in [0,
/// 9].
pub(crate) fn read_cifar_binary(path: &Path) -> Result<RawImages, DataError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(DataError::io(path))?;
    let len = file.metadata().map_err(DataError::io(path))?.len();
    if len == 0 || !len.is_multiple_of(RECORD_LEN as u64) {
        let problem = format!("expected whole CIFAR-10 records of {RECORD_LEN} bytes, found {len} bytes");
        return Err(DataError::invalid(name, problem));
    }
    let mut reader = BufReader::new(&file);
    let mut record = [0; RECORD_LEN];
    for i in 0..len / RECORD_LEN as u64 {
        reader.read_exact(&mut record).map_err(DataError::io(path))?;
        if record[0] > 9 {
            let problem = format!("record {i}: expected a label from 0 to 9, found {}", record[0]);
            return Err(DataError::invalid(name, problem));
        }
    }
    let bytes = ByteStorage::from_file(path.to_path_buf(), file)?;
    Ok(RawImages {
        name,
        bytes,
        first_record: 0,
        record_len: RECORD_LEN,
        image_offset: 1,
        width: SIDE,
        height: SIDE,
        channels: 3,
    })
}
