//! Parquet files as Hub datasets have them: encoded pictures in a column.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::byte_store::ByteStore;
use crate::decode::MAX_ENCODED;
use crate::decompression::check_ratio;
use crate::{DataError, ImageSource};

/// Rows that are read together. A dictionary may make a huge picture of each, from a few bytes: one at a time.
const ROWS: usize = 1;

/// Reads the encoded pictures of a file.
///
/// The column is the one that the `huggingface` metadata calls an image, else the first that holds structs with a field
/// `bytes`, else the first of bytes whose name is that of an image, else the only one of bytes.
///
/// # Errors
/// When the file is damaged or a decompression bomb, or no column holds pictures. A row without bytes is an error that
/// names it.
pub(crate) fn read_parquet(path: &Path) -> Result<ByteStore, DataError> {
    // The reader has panicked on corrupt files: such a file is damaged. What the closure builds is dropped then.
    catch_unwind(AssertUnwindSafe(|| read(path)))
        .unwrap_or_else(|_| Err(DataError::damaged(path.display(), "damaged Parquet: its reader failed on it")))
}

fn read(path: &Path) -> Result<ByteStore, DataError> {
    let damaged = |problem: String| DataError::damaged(path.display(), problem);
    let file = File::open(path).map_err(DataError::io(path))?;
    let packed = file.metadata().map_err(DataError::io(path))?.len();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(error.to_string()))?;
    let column = image_column(builder.schema()).map_err(&damaged)?;
    let name = builder.schema().field(column).name().clone();
    let groups = builder.metadata().row_groups();
    let rows = groups.iter().fold(0, |sum: u64, group| sum.saturating_add(group.num_rows().unsigned_abs()));
    if rows > packed {
        // A run-length code repeats a row for nothing; a set of pictures has no use for that.
        return Err(damaged(format!("expected pictures of at least a byte, found {rows} rows in {packed} bytes")));
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), [column]);
    let reader = builder.with_projection(mask).with_batch_size(ROWS).build();
    let mut store = ByteStore::new();
    for batch in reader.map_err(|error| damaged(error.to_string()))? {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        let values = encoded(&batch).ok_or_else(|| damaged(format!("column {name}: expected bytes of pictures")))?;
        for row in 0..values.len() {
            let number = store.len();
            let own = format!("{}, row {number}", path.display());
            let bytes = bytes_at(&values, row);
            // An empty row is kept: it is reported like any other picture that cannot be decoded.
            let bytes = bytes.unwrap_or_default();
            if bytes.len() as u64 > MAX_ENCODED {
                return Err(DataError::damaged(own, format!("more than {} MiB for one picture", MAX_ENCODED >> 20)));
            }
            check_ratio(path, packed, store.bytes() + bytes.len() as u64)?;
            store.push(own, bytes)?;
        }
    }
    Ok(store)
}

/// The column of bytes in a batch of the image column alone.
fn encoded(batch: &RecordBatch) -> Option<ArrayRef> {
    let column = batch.columns().first()?;
    match column.data_type() {
        DataType::Struct(_) => column.as_struct().column_by_name("bytes").cloned(),
        _ => Some(column.clone()),
    }
}

fn bytes_at(values: &ArrayRef, row: usize) -> Option<&[u8]> {
    if values.is_null(row) {
        return None;
    }
    match values.data_type() {
        DataType::Binary => Some(values.as_binary::<i32>().value(row)),
        DataType::LargeBinary => Some(values.as_binary::<i64>().value(row)),
        DataType::BinaryView => Some(values.as_binary_view().value(row)),
        _ => None,
    }
}

/// The index of the column with the pictures, or what is there instead.
fn image_column(schema: &Schema) -> Result<usize, String> {
    let is_bytes = |t: &DataType| matches!(t, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let holds_pictures = |t: &DataType| match t {
        DataType::Struct(fields) => fields.iter().any(|field| field.name() == "bytes" && is_bytes(field.data_type())),
        t => is_bytes(t),
    };
    let fitting: Vec<usize> =
        (0..schema.fields().len()).filter(|i| holds_pictures(schema.field(*i).data_type())).collect();
    let named = schema.metadata().get("huggingface").and_then(|text| hub_image_feature(text));
    let is_struct = |i: &&usize| matches!(schema.field(**i).data_type(), DataType::Struct(_));
    let usual =
        |i: &&usize| ["image", "img", "bytes", "jpg", "png", "picture"].contains(&schema.field(**i).name().as_str());
    let chosen = fitting
        .iter()
        .find(|i| Some(schema.field(**i).name()) == named.as_ref())
        .or_else(|| fitting.iter().find(is_struct))
        .or_else(|| fitting.iter().find(usual))
        .or_else(|| if fitting.len() == 1 { fitting.first() } else { None });
    chosen.copied().ok_or_else(|| {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        format!("expected a column of encoded pictures, found the columns {}", names.join(", "))
    })
}

/// The name of the image feature in a Hub dataset's metadata: {"info": {"features": {NAME: {"_type": "Image"}}}}.
fn hub_image_feature(text: &str) -> Option<String> {
    let metadata: serde_json::Value = serde_json::from_str(text).ok()?;
    let features = metadata.get("info")?.get("features")?.as_object()?;
    let image = features.iter().find(|(_, feature)| feature.get("_type").is_some_and(|t| t == "Image"));
    image.map(|(name, _)| name.clone())
}
