//! Parquet files as Hub datasets have them: encoded images in a column.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::basic::{ConvertedType, Type};
use parquet::column::reader::ColumnReader;
use parquet::file::metadata::FileMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use crate::byte_store::ByteStore;
use crate::decode::MAX_ENCODED;
use crate::decompression::check_ratio;
use crate::{DataError, ImageSource};

/// Reads the encoded images of a file.
///
/// The column is `named`, else the one that the `huggingface` metadata calls an image, else the first that holds structs with a field
/// `bytes`, else the first of bytes whose name is that of an image, else the only one of bytes.
///
/// # Errors
/// When the file is damaged or a decompression bomb, or no column holds images. A row without bytes is an error that
/// names it.
pub(crate) fn read_parquet(path: &Path, named: Option<&str>) -> Result<ByteStore, DataError> {
    // The reader has panicked on corrupt files: such a file is damaged. What the closure builds is dropped then.
    catch_unwind(AssertUnwindSafe(|| read(path, named)))
        .unwrap_or_else(|_| Err(DataError::damaged(path.display(), "damaged Parquet: its reader failed on it")))
}

fn read(path: &Path, named: Option<&str>) -> Result<ByteStore, DataError> {
    let damaged = |problem: String| DataError::damaged(path.display(), problem);
    let broken = |error: parquet::errors::ParquetError| damaged(error.to_string());
    let file = File::open(path).map_err(DataError::io(path))?;
    let packed = file.metadata().map_err(DataError::io(path))?.len();
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let groups = reader.metadata().row_groups();
    let column = image_column(reader.metadata().file_metadata(), named).map_err(&damaged)?;
    let rows = groups.iter().fold(0, |sum: u64, group| sum.saturating_add(group.num_rows().unsigned_abs()));
    if rows > packed {
        // A run-length code repeats a row for nothing; a set of images has no use for that.
        return Err(damaged(format!("expected images of at least a byte, found {rows} rows in {packed} bytes")));
    }
    // A page is unpacked whole: what the file says of itself is checked before.
    let sizes = groups.iter().filter_map(|group| group.columns().get(column)).map(|chunk| chunk.uncompressed_size());
    check_ratio(path, packed, sizes.fold(0, |sum: u64, size| sum.saturating_add(size.unsigned_abs())))?;

    let has_paths = has_paths(reader.metadata().file_metadata(), column);
    let mut store = ByteStore::new();
    for group in 0..groups.len() {
        let group = reader.get_row_group(group).map_err(broken)?;
        let ColumnReader::ByteArrayColumnReader(mut values) = group.get_column_reader(column).map_err(broken)? else {
            return Err(damaged("expected a column of bytes".into()));
        };
        let (mut levels, mut row) = (Vec::new(), Vec::new());
        loop {
            levels.clear();
            row.clear();
            // One at a time: an encoding may make a huge image of each row from a few bytes.
            let (rows, ..) = values.read_records(1, Some(&mut levels), None, &mut row).map_err(broken)?;
            if rows == 0 {
                break;
            }
            let nothing = row.first().is_none_or(|bytes| bytes.is_empty());
            let elsewhere = if nothing && has_paths { ": the image is not in the file, only a path of it" } else { "" };
            let own = format!("{}, row {}{elsewhere}", path.display(), store.len());
            // An empty row is kept: it is reported like any other image that cannot be decoded.
            let bytes = row.first().map_or(&[][..], |bytes| bytes.data());
            if bytes.len() as u64 > MAX_ENCODED {
                return Err(DataError::damaged(own, format!("more than {} MiB for one image", MAX_ENCODED >> 20)));
            }
            check_ratio(path, packed, store.bytes() + bytes.len() as u64)?;
            store.push(own, bytes)?;
        }
    }
    if has_paths && store.len() > 0 && store.bytes() == 0 {
        return Err(damaged("expected images, found only paths of images, which are not in the file".into()));
    }
    Ok(store)
}

/// Whether the structs of that column have a path beside the bytes: some datasets have nothing but it in some rows.
fn has_paths(file: &FileMetaData, column: usize) -> bool {
    let columns = file.schema_descr().columns();
    let parts = columns[column].path().parts();
    parts.len() == 2 && columns.iter().any(|leaf| leaf.path().parts() == [parts[0].as_str(), "path"])
}

/// The index of the leaf column with the images, or what is there instead.
fn image_column(file: &FileMetaData, wanted: Option<&str>) -> Result<usize, String> {
    let columns = file.schema_descr().columns();
    let name = |i: &usize| columns[*i].path().parts()[0].as_str();
    let is_struct = |i: &usize| columns[*i].path().parts().len() == 2;
    let is_usual = |i: &usize| ["image", "img", "bytes", "jpg", "png", "picture"].contains(&name(i));
    let fitting: Vec<usize> = (0..columns.len()).filter(|i| holds_images(&columns[*i])).collect();
    let metadata = file.key_value_metadata().into_iter().flatten().find(|pair| pair.key == "huggingface");
    let named = metadata.and_then(|pair| hub_image_feature(pair.value.as_deref()?));
    let first = |choose: &dyn Fn(&usize) -> bool| fitting.iter().copied().find(|i| choose(i));
    if let Some(wanted) = wanted {
        return first(&|i| name(i) == wanted).ok_or_else(|| {
            let names: Vec<&str> = fitting.iter().map(name).collect();
            format!("expected a column {wanted} of encoded images, found those in {}", names.join(", "))
        });
    }
    let chosen =
        first(&|i| Some(name(i)) == named.as_deref()).or_else(|| first(&is_struct)).or_else(|| first(&is_usual));
    chosen.or_else(|| if fitting.len() == 1 { fitting.first().copied() } else { None }).ok_or_else(|| {
        let fields = file.schema_descr().root_schema().get_fields();
        let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
        format!("expected a column of encoded images, found the columns {}", names.join(", "))
    })
}

/// Whether a leaf is a column of bytes, or the field `bytes` of a column of structs.
fn holds_images(column: &ColumnDescriptor) -> bool {
    let is_bytes = column.physical_type() == Type::BYTE_ARRAY
        && column.converted_type() == ConvertedType::NONE
        && column.logical_type_ref().is_none();
    let parts = column.path().parts();
    is_bytes && column.max_rep_level() == 0 && (parts.len() == 1 || (parts.len() == 2 && parts[1] == "bytes"))
}

/// The name of the image feature in a Hub dataset's metadata: {"info": {"features": {NAME: {"_type": "Image"}}}}.
fn hub_image_feature(text: &str) -> Option<String> {
    let metadata: serde_json::Value = serde_json::from_str(text).ok()?;
    let features = metadata.get("info")?.get("features")?.as_object()?;
    let image = features.iter().find(|(_, feature)| feature.get("_type").is_some_and(|t| t == "Image"));
    image.map(|(name, _)| name.clone())
}
