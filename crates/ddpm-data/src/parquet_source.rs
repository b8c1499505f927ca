//! Parquet files with a column of encoded images, the format of the image datasets of the Hugging Face Hub.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::ByteArrayType;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::decode::MAX_ENCODED_BYTES;
use crate::decompression_limit::check_ratio;
use crate::encoded_images::EncodedImages;
use crate::error::DataError;
use crate::image_source::ImageSource;
use crate::labels::FileLabels;
use crate::parquet_column::{has_paths, image_column};
use crate::parquet_labels::LabelColumn;

/// Reads the encoded images of a Parquet file.
///
/// The images are those of the column `column`, or of the column that [`image_column`] finds if it is absent. A row
/// without an image stays a row of the set: decoding it fails with an error that names the row. The classes are those
/// of the column `label_column`, or of the one that [`LabelColumn::find`] finds; they are not read if `labels` is
/// false.
///
/// # Errors
/// [`DataError`] when the file is corrupt or a decompression bomb, or when no column holds images.
pub(crate) fn read_parquet(
    path: &Path,
    column: Option<&str>,
    label_column: Option<&str>,
    labels: bool,
) -> Result<(EncodedImages, FileLabels), DataError> {
    // The reader of the parquet crate has panicked on corrupt files. The closure changes no state outside of itself, so
    // a panic cannot leave anything inconsistent.
    catch_unwind(AssertUnwindSafe(|| read(path, column, label_column, labels)))
        .unwrap_or_else(|_| Err(DataError::invalid(path.display(), "corrupt Parquet file: the reader panicked on it")))
}

fn read(
    path: &Path,
    column: Option<&str>,
    label_column: Option<&str>,
    labels: bool,
) -> Result<(EncodedImages, FileLabels), DataError> {
    let invalid = |problem: String| DataError::invalid(path.display(), problem);
    let file = File::open(path).map_err(DataError::io(path))?;
    let file_bytes = file.metadata().map_err(DataError::io(path))?.len();
    let reader = SerializedFileReader::new(file).map_err(|error| invalid(error.to_string()))?;
    let metadata = reader.metadata();
    let column = image_column(metadata.file_metadata(), column).map_err(&invalid)?;
    check_sizes(path, file_bytes, metadata.row_groups(), column)?;
    let has_paths = has_paths(metadata.file_metadata(), column);
    let mut images = EncodedImages::new();
    for group in 0..metadata.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|error| invalid(error.to_string()))?;
        let values = group.get_column_reader(column).map_err(|error| invalid(error.to_string()))?;
        let ColumnReader::ByteArrayColumnReader(values) = values else {
            return Err(invalid("expected a column of bytes".into()));
        };
        read_row_group(path, file_bytes, values, has_paths, &mut images)?;
    }
    if has_paths && !images.is_empty() && images.total_bytes() == 0 {
        return Err(invalid("expected images, found only paths of images, which are not in the file".into()));
    }
    let label_column = match labels {
        true => LabelColumn::find(reader.metadata().file_metadata(), label_column).map_err(&invalid)?,
        false => None,
    };
    let labels = match label_column {
        Some(column) => column.read(path, &reader)?,
        None => FileLabels::missing(images.len()),
    };
    if labels.of_image.len() != images.len() {
        let (expected, found) = (images.len(), labels.of_image.len());
        return Err(invalid(format!("expected a class in each of {expected} rows, found {found} rows of classes")));
    }
    Ok((images, labels))
}

/// Checks the numbers of rows and bytes that the metadata of the file declare, before anything is decompressed: a page
/// is decompressed as a whole.
fn check_sizes(path: &Path, file_bytes: u64, groups: &[RowGroupMetaData], column: usize) -> Result<(), DataError> {
    let rows = groups.iter().fold(0, |sum: u64, group| sum.saturating_add(group.num_rows().unsigned_abs()));
    if rows > file_bytes {
        // A run-length encoding can repeat a row any number of times at no cost. A set of images has no use for that.
        let problem = format!("expected images of at least a byte, found {rows} rows in {file_bytes} bytes");
        return Err(DataError::invalid(path.display(), problem));
    }
    let sizes = groups.iter().filter_map(|group| group.columns().get(column)).map(|chunk| chunk.uncompressed_size());
    check_ratio(path, file_bytes, sizes.fold(0, |sum: u64, size| sum.saturating_add(size.unsigned_abs())))
}

/// Appends the images of one row group.
fn read_row_group(
    path: &Path,
    file_bytes: u64,
    mut values: ColumnReaderImpl<ByteArrayType>,
    has_paths: bool,
    images: &mut EncodedImages,
) -> Result<(), DataError> {
    let (mut levels, mut row) = (Vec::new(), Vec::new());
    loop {
        levels.clear();
        row.clear();
        // Rows are read one at a time, because an encoding can make a huge row out of a few bytes.
        let read = values.read_records(1, Some(&mut levels), None, &mut row);
        let (rows, ..) = read.map_err(|error| DataError::invalid(path.display(), error))?;
        if rows == 0 {
            return Ok(());
        }
        // An empty row is kept. It is reported like any other image that cannot be decoded.
        let bytes = row.first().map_or(&[][..], |bytes| bytes.data());
        let is_elsewhere = bytes.is_empty() && has_paths;
        let note = if is_elsewhere { ": the image is not in the file, only a path of it" } else { "" };
        let name = format!("{}, row {}{note}", path.display(), images.len());
        if bytes.len() as u64 > MAX_ENCODED_BYTES {
            return Err(DataError::invalid(name, format!("more than {} MiB for one image", MAX_ENCODED_BYTES >> 20)));
        }
        check_ratio(path, file_bytes, images.total_bytes() + bytes.len() as u64)?;
        images.push(name, bytes)?;
    }
}
