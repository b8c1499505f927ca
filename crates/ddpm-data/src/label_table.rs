//! `metadata.csv` and `metadata.jsonl`: tables of image files and their classes, as image folders of the Hub have them.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{DataError, one_line};
use crate::labels::FileLabel;

/// The column of the path of an image, relative to the table.
const FILE_NAME: &str = "file_name";

/// The names of columns of classes, if the configuration names none.
const USUAL_NAMES: [&str; 4] = ["label", "labels", "class", "category"];

/// The largest table, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// The classes of images by their paths.
#[derive(Debug, Default)]
pub(crate) struct LabelTable {
    labels: HashMap<PathBuf, FileLabel>,
    /// The tables that were read.
    pub(crate) files: Vec<PathBuf>,
}

impl LabelTable {
    /// Reads every table among `files`. A table without a column of classes is ignored, unless `column` names one.
    ///
    /// # Errors
    /// [`DataError`] when a table cannot be read, or lacks the column `file_name` or the column `column`.
    pub(crate) fn read(files: &[PathBuf], column: Option<&str>) -> Result<Self, DataError> {
        let mut table = Self::default();
        for path in files {
            let rows = match path.file_name().and_then(|name| name.to_str()) {
                Some("metadata.csv") => csv_rows(path)?,
                Some("metadata.jsonl") => json_rows(path)?,
                _ => continue,
            };
            table.add(path, &rows, column)?;
        }
        Ok(table)
    }

    /// The class of the image at `path`; `None` if no table has a row for it.
    pub(crate) fn label(&self, path: &Path) -> Option<FileLabel> {
        self.labels.get(path).cloned()
    }

    fn add(&mut self, path: &Path, rows: &[Map<String, Value>], column: Option<&str>) -> Result<(), DataError> {
        let invalid = |problem: String| DataError::invalid(path.display(), problem);
        let columns: BTreeSet<&str> = rows.iter().flat_map(|row| row.keys().map(String::as_str)).collect();
        let listed = || one_line(columns.iter().copied().collect::<Vec<_>>().join(", "));
        let wanted = match column {
            Some(column) if !columns.contains(column) && !rows.is_empty() => {
                return Err(invalid(format!("data.label_column: expected a column {column}, found {}", listed())));
            }
            Some(column) => column,
            None => match USUAL_NAMES.iter().find(|name| columns.contains(**name)) {
                Some(name) => name,
                None => return Ok(()),
            },
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        for (i, row) in rows.iter().enumerate() {
            let Some(file) = row.get(FILE_NAME).and_then(Value::as_str) else {
                return Err(invalid(format!("row {}: expected a text {FILE_NAME}, found none", i + 1)));
            };
            let label = match row.get(wanted) {
                None | Some(Value::Null) => FileLabel::Missing,
                Some(Value::String(name)) if name.is_empty() => FileLabel::Missing,
                Some(Value::String(name)) => FileLabel::Name(Arc::from(one_line(name))),
                Some(Value::Number(number)) => FileLabel::Name(Arc::from(number.to_string())),
                Some(other) => {
                    let problem = format!("row {}: expected text or a number as {wanted}, found {other}", i + 1);
                    return Err(invalid(problem));
                }
            };
            // Without `.` and with one kind of separator, so that the path is that of the listing of the folder.
            let file: PathBuf = Path::new(file).components().filter(|part| *part != Component::CurDir).collect();
            self.labels.insert(folder.join(file), label);
        }
        self.files.push(path.to_path_buf());
        Ok(())
    }
}

fn read_text(path: &Path) -> Result<String, DataError> {
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| DataError::invalid(path.display(), error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(DataError::invalid(path.display(), format!("more than {} MiB for a table", MAX_BYTES >> 20)));
    }
    Ok(text)
}

fn csv_rows(path: &Path) -> Result<Vec<Map<String, Value>>, DataError> {
    let invalid = |error: csv::Error| DataError::invalid(path.display(), error);
    let text = read_text(path)?;
    let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let columns: Vec<String> = reader.headers().map_err(invalid)?.iter().map(|name| name.trim().to_owned()).collect();
    let row = |record: csv::Result<csv::StringRecord>| {
        let record = record.map_err(invalid)?;
        Ok(columns.iter().cloned().zip(record.iter().map(|field| field.trim().into())).collect())
    };
    reader.records().map(row).collect()
}

fn json_rows(path: &Path) -> Result<Vec<Map<String, Value>>, DataError> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |(i, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| DataError::invalid(path.display(), format!("line {}: {error}", i + 1)))
    };
    lines.map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, text: &str, column: Option<&str>) -> Result<(LabelTable, PathBuf), String> {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        let table = LabelTable::read(&[path], column).map_err(|error| error.to_string())?;
        Ok((table, root.path().to_path_buf()))
    }

    #[test]
    fn tables_name_the_classes_of_files() {
        let named = |name: &str| Some(FileLabel::Name(name.into()));
        let csv = "file_name,label,kind\n./a.png,cat,x\ndeep/b.png,\"dog, small\",y\nc.png,,\n";
        let (table, root) = table("metadata.csv", csv, None).unwrap();
        assert_eq!(table.label(&root.join("a.png")), named("cat"));
        assert_eq!(table.label(&root.join("deep/b.png")), named("dog, small"));
        assert_eq!(table.label(&root.join("c.png")), Some(FileLabel::Missing));
        assert_eq!(table.label(&root.join("d.png")), None);
        let jsonl = "{\"file_name\": \"a.png\", \"species\": 3}\n\n{\"file_name\": \"b.png\", \"species\": \"x\"}\n";
        let (table, root) = self::table("metadata.jsonl", jsonl, Some("species")).unwrap();
        assert_eq!((table.label(&root.join("a.png")), table.label(&root.join("b.png"))), (named("3"), named("x")));
    }

    #[test]
    fn wrong_tables_are_refused_and_others_ignored() {
        for (name, text, column, expected) in [
            (
                "metadata.csv",
                "file_name,text\na.png,x\n",
                Some("label"),
                "expected a column label, found file_name, text",
            ),
            ("metadata.csv", "label\nx\n", None, "row 1: expected a text file_name, found none"),
            ("metadata.csv", "file_name,label\na.png\n", None, "CSV error"),
            ("metadata.jsonl", "{\"file_name\": \"a.png\", \"label\": [1]}", None, "row 1: expected text or a number"),
            ("metadata.jsonl", "{", None, "line 1: "),
        ] {
            let error = table(name, text, column).map(drop).expect_err("wrong");
            assert!(error.contains(expected), "{error}");
        }
        assert!(table("metadata.csv", "file_name,text\na.png,x\n", None).unwrap().0.files.is_empty());
    }
}
