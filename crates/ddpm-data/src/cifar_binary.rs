//! CIFAR-10's binary files: records of a label and a 32 × 32 image in three planes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::DataError;
use crate::bytes::Bytes;
use crate::raw_records::RawRecords;

const SIDE: usize = 32;
/// One label, 3,072 samples.
pub(crate) const RECORD: usize = 1 + 3 * SIDE * SIDE;

/// Reads `data_batch_N.bin` or a file like it.
///
/// # Errors
/// When its length is not a whole number of records, or a label is none of ten.
pub(crate) fn read_cifar_binary(path: &Path) -> Result<RawRecords, DataError> {
    let name = path.display().to_string();
    let file = File::open(path).map_err(DataError::io(path))?;
    let len = file.metadata().map_err(DataError::io(path))?.len();
    if len == 0 || !len.is_multiple_of(RECORD as u64) {
        let problem = format!("expected whole CIFAR-10 records of {RECORD} bytes, found {len} bytes");
        return Err(DataError::damaged(name, problem));
    }
    let mut reader = BufReader::new(&file);
    let mut record = [0; RECORD];
    for i in 0..len / RECORD as u64 {
        reader.read_exact(&mut record).map_err(DataError::io(path))?;
        if record[0] > 9 {
            let problem = format!("record {i}: expected a label from 0 to 9, found {}", record[0]);
            return Err(DataError::damaged(name, problem));
        }
    }
    let bytes = Bytes::of_file(path.to_path_buf(), file)?;
    Ok(RawRecords { name, bytes, start: 0, stride: RECORD, skip: 1, width: SIDE, height: SIDE, channels: 3 })
}
