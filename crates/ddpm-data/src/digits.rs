//! The digits that the program carries with it.

use std::io::Read;

use crate::DataError;
use crate::bytes::Bytes;
use crate::raw_records::RawRecords;

/// 1,797 scans of handwritten digits, 8 × 8, 65 columns: 64 values from 0 to 16, then the digit. E. Alpaydin and C. Kaynak,
/// Optical Recognition of Handwritten Digits (UCI, 1998), CC BY 4.0; this file as scikit-learn distributes it.
const FILE: &[u8] = include_bytes!("../../../assets/digits/digits.csv.gz");

/// The side of a scan, in pixels.
const SIDE: usize = 8;
/// The value of full ink.
const MOST: f64 = 16.0;

/// The embedded scans, 0 to 16 onto 0 to 255.
pub(crate) fn digits() -> Result<RawRecords, DataError> {
    let damaged = |problem: String| DataError::damaged("the embedded digits", problem);
    let mut text = String::new();
    flate2::read::GzDecoder::new(FILE).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
    let mut bytes = Bytes::new();
    for record in csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).records() {
        let record = record.map_err(|error| damaged(error.to_string()))?;
        for field in record.iter().take(SIDE * SIDE) {
            let value: f64 = field.parse().map_err(|_| damaged(format!("expected a number, found {field}")))?;
            bytes.push(&[(value / MOST * 255.0).round() as u8])?;
        }
    }
    let name = "digits".to_string();
    Ok(RawRecords { name, bytes, start: 0, stride: SIDE * SIDE, skip: 0, width: SIDE, height: SIDE, channels: 1 })
}
