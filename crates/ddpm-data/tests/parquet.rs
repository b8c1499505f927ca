//! Parquet files as Hub datasets have them, made here; and what damaged and hostile ones come to.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BinaryArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Fields, Schema};
use ddpm_data::{DataConfig, DataError, ImageSource, open};
use image::{DynamicImage, ImageFormat, RgbImage};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

fn opened(path: &Path) -> Result<Arc<dyn ImageSource>, DataError> {
    let config: DataConfig = serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
    open(&config)
}

/// A picture of one colour.
fn png(red: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let picture = RgbImage::from_pixel(5, 4, image::Rgb([red, 2, 3]));
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A file of those columns, in row groups of two rows.
fn parquet(columns: Vec<(&str, ArrayRef)>, compression: Compression) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties =
        WriterProperties::builder().set_max_row_group_row_count(Some(2)).set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// Pictures as Hub datasets have them: structs of bytes and a path.
fn structs(pictures: &[Option<Vec<u8>>]) -> ArrayRef {
    let bytes = BinaryArray::from_iter(pictures.iter().map(Option::as_ref));
    let paths = StringArray::from(vec!["a.png"; pictures.len()]);
    let fields =
        Fields::from(vec![Field::new("bytes", DataType::Binary, true), Field::new("path", DataType::Utf8, true)]);
    Arc::new(StructArray::new(fields, vec![Arc::new(bytes), Arc::new(paths)], None))
}

fn labels(rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from(vec![7; rows]))
}

#[test]
fn structs_and_plain_columns_are_read_in_order() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let pictures = [Some(png(10)), Some(png(20)), None, Some(png(40)), Some(png(50))];
    let binary: ArrayRef = Arc::new(BinaryArray::from_iter(pictures.iter().map(Option::as_ref)));
    let large: ArrayRef = Arc::new(LargeBinaryArray::from_iter(pictures.iter().map(Option::as_ref)));
    let columns = [structs(&pictures), binary, large];
    for column in columns {
        for compression in [Compression::SNAPPY, Compression::UNCOMPRESSED] {
            fs::write(&path, parquet(vec![("label", labels(5)), ("image", column.clone())], compression)).unwrap();
            let source = opened(&path).unwrap();
            assert_eq!(source.len(), 5, "{}", column.data_type());
            for (row, red) in [(0, 10), (1, 20), (3, 40), (4, 50)] {
                let picture = source.decode(row).unwrap();
                assert_eq!((picture.width, picture.height, picture.pixel(4, 3)), (5, 4, &[red, 2, 3][..]));
            }
            // A row without a picture is one that cannot be decoded, by its name.
            let error = source.decode(2).unwrap_err().to_string();
            assert!(error.contains("a.parquet, row 2:"), "{error}");
        }
    }
}

#[test]
fn the_column_of_pictures_is_found_or_missed_by_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let binary = |red| -> ArrayRef { Arc::new(BinaryArray::from_iter([Some(png(red))])) };
    // Of two columns of bytes, the one with the name of a picture.
    fs::write(&path, parquet(vec![("mask", binary(1)), ("img", binary(2))], Compression::SNAPPY)).unwrap();
    assert_eq!(opened(&path).unwrap().decode(0).unwrap().samples[0], 2);
    // Of two columns of structs, the one that the metadata calls an image.
    let batch = RecordBatch::try_from_iter([("a", structs(&[Some(png(1))])), ("b", structs(&[Some(png(2))]))]).unwrap();
    let named = r#"{"info": {"features": {"a": {"_type": "Audio"}, "b": {"_type": "Image"}}}}"#;
    let metadata = std::collections::HashMap::from([("huggingface".to_string(), named.to_string())]);
    let schema = Arc::new(Schema::new_with_metadata(batch.schema().fields().clone(), metadata));
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
    writer.write(&batch.with_schema(schema).unwrap()).unwrap();
    fs::write(&path, writer.into_inner().unwrap()).unwrap();
    assert_eq!(opened(&path).unwrap().decode(0).unwrap().samples[0], 2);
    // No picture anywhere.
    fs::write(&path, parquet(vec![("label", labels(1)), ("digit", labels(1))], Compression::SNAPPY)).unwrap();
    let error = opened(&path).unwrap_err().to_string();
    assert!(
        error.contains("a.parquet: expected a column of encoded pictures, found the columns label, digit"),
        "{error}"
    );
}

/// Cut or changed anywhere, a file is an error that names it or what is whole of it: never a panic, never a hang.
#[test]
fn damage_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let pictures = [Some(png(10)), Some(png(20)), Some(png(30))];
    let whole = parquet(vec![("image", structs(&pictures)), ("label", labels(3))], Compression::SNAPPY);
    let tried = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match opened(&path) {
            Ok(source) => (0..source.len()).for_each(|i| drop(source.decode(i))),
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("a.parquet") && !error.contains('\n'), "{error}");
            }
        }
    };
    for end in (4..whole.len()).step_by(11) {
        tried(&whole[..end]);
        assert!(opened(&path).is_err(), "without its end: {end} of {} bytes", whole.len());
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        tried(&damaged);
    }
}

/// Rows of one value cost a dictionary nothing.
fn dictionary_bomb(rows: usize, value: &[u8]) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_dictionary_page_size_limit(1 << 30)
        .build();
    let schema = Arc::new(Schema::new(vec![Field::new("image", DataType::Binary, true)]));
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).unwrap();
    let part = 64.min(rows);
    let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(std::iter::repeat_n(value, part)));
    let batch = RecordBatch::try_new(schema, vec![column]).unwrap();
    (0..rows / part).for_each(|_| writer.write(&batch).unwrap());
    writer.into_inner().unwrap()
}

#[test]
fn bombs_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    // Rows of nothing but their number.
    let many = dictionary_bomb(12_800, b"x");
    assert!(many.len() < 12_800, "{}", many.len());
    fs::write(&path, many).unwrap();
    let error = opened(&path).unwrap_err().to_string();
    assert!(error.contains("a.parquet") && error.contains("12800 rows"), "{error}");
    // Few rows, each of 4 MiB: 1.25 GiB in all.
    let large = dictionary_bomb(320, &vec![0; 4 << 20]);
    assert!(large.len() < 1 << 16, "{}", large.len());
    fs::write(&path, large).unwrap();
    let error = opened(&path).unwrap_err().to_string();
    assert!(error.contains("a.parquet") && error.contains("decompression bomb"), "{error}");
}
