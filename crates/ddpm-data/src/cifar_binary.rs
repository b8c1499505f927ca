//! CIFAR-10's binary files: records of a label and a 32 × 32 picture in three planes.

use std::path::Path;

use crate::DataError;
use crate::raw_records::RawRecords;

const SIDE: usize = 32;
/// One label, 3,072 samples.
pub(crate) const RECORD: usize = 1 + 3 * SIDE * SIDE;

/// Reads `data_batch_N.bin` or a file like it.
///
/// # Errors
/// When its length is not a whole number of records, or a label is none of ten.
pub(crate) fn read_cifar_binary(path: &Path) -> Result<RawRecords, DataError> {
    let bytes = std::fs::read(path).map_err(DataError::io(path))?;
    let name = path.display().to_string();
    if bytes.is_empty() || !bytes.len().is_multiple_of(RECORD) {
        let problem = format!("expected whole CIFAR-10 records of {RECORD} bytes, found {} bytes", bytes.len());
        return Err(DataError::damaged(name, problem));
    }
    if let Some(record) = bytes.chunks_exact(RECORD).position(|record| record[0] > 9) {
        let label = bytes[record * RECORD];
        return Err(DataError::damaged(name, format!("record {record}: expected a label from 0 to 9, found {label}")));
    }
    Ok(RawRecords { name, bytes, stride: RECORD, skip: 1, width: SIDE, height: SIDE, channels: 3 })
}
