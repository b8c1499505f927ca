//! The handwritten digits that are embedded in the program.

use std::io::Read;

use crate::byte_storage::ByteStorage;
use crate::error::DataError;
use crate::labels::FileLabels;
use crate::raw_images::RawImages;

/// 1,797 scans of handwritten digits, 8 × 8 pixels each. A row has 65 columns: 64 values from 0 to 16, then the digit.
///
/// E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI, 1998), CC BY 4.0; the file is the one
/// that scikit-learn distributes.
const FILE: &[u8] = include_bytes!("../digits/digits.csv.gz");

/// The width and the height of a scan, in pixels.
const SIDE: usize = 8;

/// The largest value of the file.
const MAX_VALUE: f64 = 16.0;

/// The embedded scans, their values scaled from [0, 16] to [0, 255], and the digits that they show.
pub(crate) fn digits() -> Result<(RawImages, FileLabels), DataError> {
    let invalid = |problem: String| DataError::invalid("the embedded digits", problem);
    let mut text = String::new();
    flate2::read::GzDecoder::new(FILE).read_to_string(&mut text).map_err(|error| invalid(error.to_string()))?;
    let (mut bytes, mut digits) = (ByteStorage::new(), Vec::new());
    for record in csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes()).records() {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        for field in record.iter().take(SIDE * SIDE) {
            let value: f64 = field.parse().map_err(|_| invalid(format!("expected a number, found {field}")))?;
            bytes.push(&[(value / MAX_VALUE * 255.0).round() as u8])?;
        }
        let digit = record.get(SIDE * SIDE).and_then(|field| field.parse().ok());
        digits.push(digit.ok_or_else(|| invalid("expected a digit in the last column".into()))?);
    }
    let images = RawImages {
        name: "digits".to_string(),
        bytes,
        first_record: 0,
        record_len: SIDE * SIDE,
        image_offset: 0,
        width: SIDE,
        height: SIDE,
        channels: 1,
    };
    Ok((images, FileLabels::numbers(digits)))
}
