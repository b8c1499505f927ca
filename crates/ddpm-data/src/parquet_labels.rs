//! The column of a Parquet file that holds the classes of its images.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::DataType;
use parquet::file::metadata::FileMetaData;
use parquet::file::reader::FileReader;
use parquet::schema::types::ColumnDescriptor;
use serde_json::Value;

use crate::error::{DataError, one_line};
use crate::labels::{FileLabel, FileLabels};

/// The names of columns that hold classes, if the file does not declare one.
const USUAL_NAMES: [&str; 4] = ["label", "labels", "class", "fine_label"];

/// The largest number of bytes of a name.
const MAX_NAME_BYTES: usize = 1000;

/// The number of rows that are read at a time.
const ROWS: usize = 1024;

/// A column of classes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LabelColumn {
    /// The index of the leaf column.
    index: usize,
    /// The names of the classes, if the `huggingface` metadata of the file declare them (`ClassLabel`).
    class_names: Option<Vec<String>>,
}

impl LabelColumn {
    /// The column `name`. If no name is given, it is the first that exists of
    /// 1. the column that the metadata declare as a `ClassLabel`,
    /// 2. the column with a usual name, such as `label`.
    ///
    /// # Errors
    /// A description of the columns when there is no column `name` of integers or text.
    pub(crate) fn find(file: &FileMetaData, name: Option<&str>) -> Result<Option<Self>, String> {
        let columns = file.schema_descr().columns();
        let name_of = |i: &usize| columns[*i].path().parts()[0].as_str();
        let candidates: Vec<usize> = (0..columns.len()).filter(|i| holds_labels(&columns[*i])).collect();
        let declared = declared_classes(file);
        let with_name = |wanted: &str| {
            let index = candidates.iter().copied().find(|i| name_of(i) == wanted)?;
            let names = declared.iter().find(|(column, _)| column == wanted).map(|(_, names)| names.clone());
            Some(Self { index, class_names: names })
        };
        if let Some(wanted) = name {
            let column = with_name(wanted).ok_or_else(|| {
                let names: Vec<&str> = candidates.iter().map(name_of).collect();
                let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                format!("data.label_column: expected a column {wanted} of integers or text, found {found}")
            })?;
            return Ok(Some(column));
        }
        let names = declared.iter().map(|(column, _)| column.as_str()).chain(USUAL_NAMES);
        Ok(names.into_iter().find_map(with_name))
    }

    /// Reads the classes of all rows.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the column is corrupt.
    pub(crate) fn read(self, path: &Path, file: &dyn FileReader) -> Result<FileLabels, DataError> {
        let invalid = |problem: String| DataError::invalid(path.display(), problem);
        let (mut of_image, mut names) = (Vec::new(), HashSet::new());
        for group in 0..file.metadata().num_row_groups() {
            let reader = file.get_row_group(group).and_then(|group| group.get_column_reader(self.index));
            let read = match reader.map_err(|error| invalid(error.to_string()))? {
                ColumnReader::Int32ColumnReader(reader) => {
                    read_values(reader, &mut of_image, |number| Ok(number_label(i64::from(*number))))
                }
                ColumnReader::Int64ColumnReader(reader) => {
                    read_values(reader, &mut of_image, |number| Ok(number_label(*number)))
                }
                ColumnReader::ByteArrayColumnReader(reader) => {
                    read_values(reader, &mut of_image, |bytes| name_label(bytes.data(), &mut names))
                }
                _ => Err("expected a column of integers or text".to_owned()),
            };
            read.map_err(invalid)?;
        }
        Ok(FileLabels { of_image, class_names: self.class_names })
    }
}

/// Appends the labels of a row group, where `label` converts a value. A row without a value has no label.
fn read_values<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    labels: &mut Vec<FileLabel>,
    mut label: impl FnMut(&T::T) -> Result<FileLabel, String>,
) -> Result<(), String> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    loop {
        levels.clear();
        values.clear();
        let read = reader.read_records(ROWS, Some(&mut levels), None, &mut values);
        let (rows, ..) = read.map_err(|error| error.to_string())?;
        if rows == 0 {
            return Ok(());
        }
        let mut values = values.iter();
        // The column is not nested: a row with a value has the highest level, 1. A required column has no levels.
        for row in 0..rows {
            let has_value = levels.get(row).is_none_or(|level| *level > 0);
            let value = if has_value { values.next() } else { None };
            labels.push(value.map_or(Ok(FileLabel::Missing), &mut label)?);
        }
    }
}

/// The Hub's datasets write −1 for an unknown class.
fn number_label(number: i64) -> FileLabel {
    u32::try_from(number).map_or(FileLabel::Missing, FileLabel::Number)
}

fn name_label(bytes: &[u8], names: &mut HashSet<Arc<str>>) -> Result<FileLabel, String> {
    let name = String::from_utf8_lossy(bytes);
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("expected names of classes of at most {MAX_NAME_BYTES} bytes, found {}", name.len()));
    }
    if name.is_empty() {
        return Ok(FileLabel::Missing);
    }
    let name = one_line(name);
    let known = names.get(name.as_str()).cloned();
    let name = known.unwrap_or_else(|| {
        let name: Arc<str> = name.into();
        names.insert(Arc::clone(&name));
        name
    });
    Ok(FileLabel::Name(name))
}

/// Whether a leaf column can hold classes: it is a column of integers or text that is not nested.
fn holds_labels(column: &ColumnDescriptor) -> bool {
    let is_text = column.converted_type() == ConvertedType::UTF8
        || matches!(column.logical_type_ref(), Some(LogicalType::String));
    let has_type = match column.physical_type() {
        Type::INT32 | Type::INT64 => true,
        Type::BYTE_ARRAY => is_text,
        _ => false,
    };
    has_type && column.path().parts().len() == 1 && column.max_rep_level() == 0 && column.max_def_level() <= 1
}

/// The `ClassLabel` features that the `huggingface` metadata declare, with the names of their classes:
/// {"info": {"features": {NAME: {"_type": "ClassLabel", "names": […]}}}}.
fn declared_classes(file: &FileMetaData) -> Vec<(String, Vec<String>)> {
    let metadata = file.key_value_metadata().into_iter().flatten().find(|pair| pair.key == "huggingface");
    let document: Option<Value> = metadata.and_then(|pair| serde_json::from_str(pair.value.as_deref()?).ok());
    let features = document.as_ref().and_then(|document| document.pointer("/info/features")?.as_object());
    let classes = |(name, feature): (&String, &Value)| {
        let names = feature.get("names").filter(|_| feature.get("_type").is_some_and(|kind| kind == "ClassLabel"))?;
        let names: Option<Vec<String>> =
            names.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect();
        Some((name.clone(), names?))
    };
    features.into_iter().flatten().filter_map(classes).collect()
}
