//! Parquet files in the layout of Hub datasets, written by the tests, and corrupt and malicious files.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use ddpm_data::{DataConfig, DataError, ImageSource, open};
use image::{DynamicImage, ImageFormat, RgbImage};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

fn opened(path: &Path) -> Result<Arc<dyn ImageSource>, DataError> {
    let config: DataConfig = serde_json::from_value(serde_json::json!({ "path": path })).unwrap();
    open(&config)
}

/// An encoded image of one color.
fn png(red: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = RgbImage::from_pixel(5, 4, image::Rgb([red, 2, 3]));
    DynamicImage::ImageRgb8(image).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A column to write.
#[derive(Clone)]
enum Column {
    /// A column of bytes.
    Bytes(Vec<Option<Vec<u8>>>),
    /// The images of Hub datasets: structs of bytes and a path.
    Structs(Vec<Option<Vec<u8>>>),
    /// A column of labels with this number of rows.
    Labels(usize),
    /// A column of these labels.
    Numbers(Vec<i64>),
    /// A column of text.
    Text(Vec<Option<Vec<u8>>>),
}

impl Column {
    fn schema(&self, name: &str) -> String {
        match self {
            Self::Bytes(_) => format!("optional binary {name};"),
            Self::Structs(_) => {
                format!("optional group {name} {{ optional binary bytes; optional binary path (STRING); }}")
            }
            Self::Labels(_) | Self::Numbers(_) => format!("required int64 {name};"),
            Self::Text(_) => format!("optional binary {name} (STRING);"),
        }
    }

    /// Writes the leaf columns of the rows `rows` into a row group.
    fn write(&self, rows: Range<usize>, group: &mut SerializedRowGroupWriter<'_, Vec<u8>>) {
        let (images, level) = match self {
            Self::Bytes(images) | Self::Text(images) => (images, 1),
            Self::Structs(images) => (images, 2),
            Self::Labels(_) | Self::Numbers(_) => {
                let numbers = match self {
                    Self::Numbers(numbers) => numbers[rows.clone()].to_vec(),
                    _ => vec![7; rows.len()],
                };
                let mut column = group.next_column().unwrap().unwrap();
                column.typed::<Int64Type>().write_batch(&numbers, None, None).unwrap();
                column.close().unwrap();
                return;
            }
        };
        let mut write = |values: &[Option<Vec<u8>>]| {
            let levels: Vec<i16> = values.iter().map(|value| level - i16::from(value.is_none())).collect();
            let bytes: Vec<ByteArray> = values.iter().flatten().map(|bytes| bytes.clone().into()).collect();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<ByteArrayType>().write_batch(&bytes, Some(&levels), None).unwrap();
            column.close().unwrap();
        };
        write(&images[rows.clone()]);
        if level == 2 {
            write(&vec![Some(b"a.png".to_vec()); rows.len()]);
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Bytes(images) | Self::Structs(images) | Self::Text(images) => images.len(),
            Self::Numbers(numbers) => numbers.len(),
            Self::Labels(rows) => *rows,
        }
    }
}

/// A file with these columns, in row groups of at most `rows` rows.
fn written(columns: &[(&str, Column)], rows: usize, properties: WriterProperties) -> Vec<u8> {
    let fields: String = columns.iter().map(|(name, column)| column.schema(name)).collect();
    let schema = Arc::new(parse_message_type(&format!("message set {{ {fields} }}")).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let all = columns[0].1.rows();
    for first in (0..all).step_by(rows) {
        let mut group = writer.next_row_group().unwrap();
        columns.iter().for_each(|(_, column)| column.write(first..(first + rows).min(all), &mut group));
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// A file with these columns, in row groups of two rows.
fn parquet(columns: &[(&str, Column)], compression: Compression) -> Vec<u8> {
    written(columns, 2, WriterProperties::builder().set_compression(compression).build())
}

#[test]
fn structs_and_plain_columns_are_read_in_order() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let images = [Some(png(10)), Some(png(20)), None, Some(png(40)), Some(png(50))];
    let columns = [Column::Structs(images.to_vec()), Column::Bytes(images.to_vec())];
    for column in columns {
        for compression in [Compression::SNAPPY, Compression::UNCOMPRESSED] {
            fs::write(&path, parquet(&[("label", Column::Labels(5)), ("image", column.clone())], compression)).unwrap();
            let source = opened(&path).unwrap();
            assert_eq!(source.len(), 5);
            for (row, red) in [(0, 10), (1, 20), (3, 40), (4, 50)] {
                let image = source.decode(row).unwrap();
                assert_eq!((image.width, image.height, image.pixel(4, 3)), (5, 4, &[red, 2, 3][..]));
            }
            // A row without an image is an undecodable image, and the error names the row.
            let error = source.decode(2).unwrap_err().to_string();
            assert!(error.contains("a.parquet, row 2:"), "{error}");
            let is_elsewhere = matches!(column, Column::Structs(_));
            assert_eq!(error.contains("the image is not in the file, only a path of it"), is_elsewhere, "{error}");
        }
    }
    // If no row has an image, the file is refused.
    let column = Column::Structs(vec![None, None]);
    fs::write(&path, parquet(&[("image", column)], Compression::UNCOMPRESSED)).unwrap();
    let error = opened(&path).unwrap_err().to_string();
    assert!(error.contains("a.parquet") && error.contains("found only paths of images"), "{error}");
}

#[test]
fn the_column_of_images_is_found_or_missed_by_name() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let binary = |red| Column::Bytes(vec![Some(png(red))]);
    // Of two columns of bytes, the one with a usual name is read.
    fs::write(&path, parquet(&[("mask", binary(1)), ("img", binary(2))], Compression::SNAPPY)).unwrap();
    assert_eq!(opened(&path).unwrap().decode(0).unwrap().samples[0], 2);
    // Of two columns of structs, the one that the metadata declare as an image is read.
    let structs = |red| Column::Structs(vec![Some(png(red))]);
    let named = r#"{"info": {"features": {"a": {"_type": "Audio"}, "b": {"_type": "Image"}}}}"#;
    let metadata = vec![KeyValue::new("huggingface".to_string(), named.to_string())];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
    fs::write(&path, written(&[("a", structs(1)), ("b", structs(2))], 1, properties)).unwrap();
    assert_eq!(opened(&path).unwrap().decode(0).unwrap().samples[0], 2);
    // No column holds images.
    fs::write(&path, parquet(&[("label", Column::Labels(1)), ("digit", Column::Labels(1))], Compression::SNAPPY))
        .unwrap();
    let error = opened(&path).unwrap_err().to_string();
    assert!(
        error.contains("a.parquet: expected a column of encoded images, found the columns label, digit"),
        "{error}"
    );
}

/// The class of each image, or the error.
fn classes(columns: &[(&str, Column)], metadata: Option<&str>, label_column: Option<&str>) -> Result<String, String> {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let metadata = metadata.map(|text| vec![KeyValue::new("huggingface".to_string(), text.to_string())]);
    fs::write(&path, written(columns, 2, WriterProperties::builder().set_key_value_metadata(metadata).build()))
        .unwrap();
    let config = serde_json::json!({ "path": path, "label_column": label_column });
    let config: DataConfig = serde_json::from_value(config).unwrap();
    let source = open(&config).map_err(|error| error.to_string())?;
    let Some(labels) = source.labels() else { return Ok(String::new()) };
    let names = labels.of_images().iter().map(|label| labels.classes()[*label as usize].as_str());
    Ok(names.collect::<Vec<_>>().join(" "))
}

#[test]
fn classes_are_read_from_a_column_of_numbers_or_text() {
    let images = |count: usize| Column::Bytes((0..count).map(|i| Some(png(i as u8))).collect());
    let numbers = |numbers: &[i64]| Column::Numbers(numbers.to_vec());
    let declared = r#"{"info": {"features": {"image": {"_type": "Image"}, "kind": {"_type": "ClassLabel",
        "names": ["truck", "cat", "dog"]}}}}"#;
    let kinds =
        |values: &[i64]| classes(&[("image", images(values.len())), ("kind", numbers(values))], Some(declared), None);
    assert_eq!(kinds(&[2, 0, 1, 2, 0]).unwrap(), "dog truck cat dog truck");
    // A label that has no name, a row without a class, and a name without images.
    assert!(kinds(&[2, 0, 1, 3]).unwrap_err().contains("row 3: expected a class from 0 to 2, found 3"));
    let missing = kinds(&[2, 0, 1, -1]).unwrap_err();
    assert!(missing.contains("found 1 without one") && missing.contains("row 3 among them"), "{missing}");
    assert!(kinds(&[2, 0]).unwrap_err().contains("class cat has no images"));
    // A test split without classes.
    assert_eq!(kinds(&[-1, -1]).unwrap(), "");

    // Without metadata, by the usual name or the configured one.
    let two = |name: &'static str| [("image", images(3)), (name, numbers(&[10, 9, 10]))];
    assert_eq!(classes(&two("label"), None, None).unwrap(), "10 9 10");
    assert_eq!(classes(&two("id"), None, None).unwrap(), "");
    assert_eq!(classes(&two("id"), None, Some("id")).unwrap(), "10 9 10");
    let error = classes(&two("id"), None, Some("kind")).unwrap_err();
    assert!(error.contains("data.label_column: expected a column kind of integers or text, found id"), "{error}");
    let text = Column::Text(["b", "a", "b"].map(|name| Some(name.into())).to_vec());
    assert_eq!(classes(&[("image", images(3)), ("label", text)], None, None).unwrap(), "b a b");
}

/// A file that is cut or changed anywhere gives an error that names it, or its intact images, and never a panic or a
/// hang.
#[test]
fn corrupt_files_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let images = [Some(png(10)), Some(png(20)), Some(png(30))];
    let whole =
        parquet(&[("image", Column::Structs(images.to_vec())), ("label", Column::Labels(3))], Compression::SNAPPY);
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

/// Rows with one value take no space in a dictionary encoding.
fn dictionary_bomb(rows: usize, value: &[u8]) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(Default::default()))
        .set_dictionary_page_size_limit(1 << 30)
        .build();
    let schema = Arc::new(parse_message_type("message set { required binary image; }").unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let values: Vec<ByteArray> = vec![value.to_vec().into(); 64.min(rows)];
    for _ in 0..rows / values.len() {
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
    }
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn decompression_bombs_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    // Rows without any contents of their own.
    let many = dictionary_bomb(12_800, b"x");
    assert!(many.len() < 12_800, "{}", many.len());
    fs::write(&path, many).unwrap();
    let error = opened(&path).unwrap_err().to_string();
    assert!(error.contains("a.parquet") && error.contains("12800 rows"), "{error}");
    // Few rows of 4 MiB each: 1.25 GiB in total.
    let large = dictionary_bomb(320, &vec![0; 4 << 20]);
    assert!(large.len() < 1 << 16, "{}", large.len());
    fs::write(&path, large).unwrap();
    let error = opened(&path).unwrap_err().to_string();
    assert!(error.contains("a.parquet") && error.contains("decompression bomb"), "{error}");
}

/// Damaged files end with images or an error. `DDPM_FUZZ_SECONDS` sets the time.
#[test]
fn fuzz_parquet() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.parquet");
    let images = [Some(png(10)), Some(png(20)), None, Some(png(40))];
    let seeds = [Compression::SNAPPY, Compression::UNCOMPRESSED].map(|compression| {
        parquet(
            &[("label", Column::Numbers(vec![0, 1, 2, 1])), ("image", Column::Structs(images.to_vec()))],
            compression,
        )
    });
    ddpm_testkit::fuzz("parquet", &seeds, |input| {
        fs::write(&path, input).unwrap();
        if let Ok(source) = opened(&path) {
            (0..source.len().min(4)).for_each(|row| drop(source.decode(row)));
        }
    });
}
