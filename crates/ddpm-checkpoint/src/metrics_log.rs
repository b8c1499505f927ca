//! `metrics.jsonl`, a log with one JSON object per line.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::atomic_file::replace_file;
use crate::error::{CheckpointError, IoContext, Result};
use crate::own_file::{check_regular, has_other_names};

/// The longest line that is read, in bytes. This library writes shorter ones.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// A metrics file to which lines are appended. A line that is incomplete, because the process was killed or the disk
/// was full, does not affect other lines.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
    /// The length up to the end of the last complete line.
    length: u64,
}

impl MetricsLog {
    /// Opens the file for a run that continues after `step`. Lines of later steps and incomplete lines are removed. A
    /// file that does not exist is created.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn resume(path: impl Into<PathBuf>, step: u64) -> Result<Self> {
        let path = path.into();
        let is_shared = check_regular(&path)?.is_some_and(|metadata| has_other_names(&metadata));
        drop_later_lines(&path, step, is_shared)?;
        let mut file = File::options().create(true).truncate(false).write(true).open(&path).on("open", &path)?;
        let length = file.seek(SeekFrom::End(0)).on("seek in", &path)?;
        Ok(Self { file, path, length })
    }

    /// Appends one object as a line. A number that is not finite is written as null.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] if `line` is not a JSON object; [`CheckpointError::Io`], after which the file is
    /// truncated to its last complete line if possible.
    pub fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let wrong = |problem| CheckpointError::WrongField { path: self.path.clone(), field: "line".into(), problem };
        let mut text = serde_json::to_string(line).map_err(|error| wrong(error.to_string()))?;
        if !text.starts_with('{') {
            return Err(wrong(format!("expected an object, found {text}")));
        }
        // One write per line, so that a concurrent reader rarely sees an incomplete line.
        text.push('\n');
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            let _ = self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::End(0)));
            return Err(error).on("append to", &self.path);
        }
        self.length += text.len() as u64;
        Ok(())
    }
}

/// Returns the lines of a metrics file that can be parsed as `T`, in order. Other lines are skipped. A file that does
/// not exist has no lines.
///
/// # Errors
/// [`CheckpointError::Io`].
pub fn read_metrics<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>> {
    check_regular(path.as_ref())?;
    let mut lines = Vec::new();
    for_each_line(path.as_ref(), |bytes| {
        lines.extend(serde_json::from_slice(bytes));
        Ok(())
    })?;
    Ok(lines)
}

/// Rewrites the file without the lines that [`is_kept`] rejects, if there are any, or if the file has a name in another
/// directory too, which must not receive the lines that follow.
fn drop_later_lines(path: &Path, step: u64, is_shared: bool) -> Result<()> {
    let (mut dropped, mut ends_complete) = (0_usize, true);
    for_each_line(path, |bytes| {
        dropped += usize::from(!is_kept(bytes, step));
        ends_complete = bytes.ends_with(b"\n");
        Ok(())
    })?;
    if dropped == 0 && ends_complete && !is_shared {
        return Ok(());
    }
    tracing::debug!("dropping {dropped} lines of {} that are incomplete or after step {step}", path.display());
    replace_file(path, |out| {
        for_each_line(path, |bytes| {
            if is_kept(bytes, step) {
                out.write_all(bytes).on("write", path)?;
                if !bytes.ends_with(b"\n") {
                    out.write_all(b"\n").on("write", path)?;
                }
            }
            Ok(())
        })
    })
}

/// Whether a line is an object whose step is at most `step`, or that has no step.
fn is_kept(bytes: &[u8], step: u64) -> bool {
    let object: Option<Map<String, Value>> = serde_json::from_slice(bytes).ok();
    object.is_some_and(|object| object.get("step").and_then(Value::as_u64).is_none_or(|found| found <= step))
}

/// Calls `visit` with each line, including its line feed. A line that is too long is passed in parts, which are not
/// JSON.
fn for_each_line(path: &Path, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.on("open", path)?,
    };
    let (mut reader, mut bytes) = (BufReader::new(file), Vec::new());
    loop {
        bytes.clear();
        reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).on("read", path)?;
        if bytes.is_empty() {
            return Ok(());
        }
        visit(&bytes)?;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    struct Line {
        step: u64,
        loss: f64,
    }

    fn check(before: &str, step: u64, after: &str) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, before).expect("room");
        let mut log = MetricsLog::resume(&path, step).expect("opened");
        assert_eq!(fs::read_to_string(&path).expect("readable"), after);
        log.append(&json!({ "step": step + 1 })).expect("room");
        let appended = format!("{after}{{\"step\":{}}}\n", step + 1);
        assert_eq!(fs::read_to_string(&path).expect("readable"), appended);
    }

    #[test]
    fn a_resumed_log_ends_at_its_step_with_a_complete_line() {
        check("", 0, "");
        check("{\"step\":1}\n{\"step\":2}\n", 2, "{\"step\":1}\n{\"step\":2}\n");
        check("{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n", 2, "{\"step\":1}\n{\"step\":2}\n");
        check("{\"step\":1}\n{\"step\":2,\"lo", 5, "{\"step\":1}\n");
        // Only the line feed is missing: the line is kept.
        check("{\"step\":1}\n{\"step\":2}", 5, "{\"step\":1}\n{\"step\":2}\n");
        // An incomplete line in the middle is dropped.
        check("{\"step\":1}\n{\"st{\"step\":2}\n\n{\"step\":3}\n", 5, "{\"step\":1}\n{\"step\":3}\n");
        check("{\"note\":\"x\"}\n[1]\nnull\n", 5, "{\"note\":\"x\"}\n");
    }

    #[test]
    fn long_lines_are_dropped() {
        let long = "x".repeat((2 << 20) + 5);
        check(&format!("{{\"step\":1}}\n{long}\n{{\"step\":2}}\n"), 5, "{\"step\":1}\n{\"step\":2}\n");
    }

    #[test]
    fn appended_lines_are_read_back_and_other_lines_skipped() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("metrics.jsonl");
        assert!(read_metrics::<Line>(&path).expect("none yet").is_empty());
        let mut log = MetricsLog::resume(&path, 0).expect("opened");
        log.append(&Line { step: 1, loss: 0.1 + 0.2 }).expect("room");
        log.append(&Line { step: 2, loss: f64::NAN }).expect("room");
        log.append(&Line { step: 3, loss: 0.5 }).expect("room");
        assert!(
            log.append(&3).expect_err("a number is not an object").to_string().contains("expected an object, found 3")
        );
        let read: Vec<Line> = read_metrics(&path).expect("readable");
        assert_eq!(read, [Line { step: 1, loss: 0.1 + 0.2 }, Line { step: 3, loss: 0.5 }]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named() {
        let file = File::options().write(true).open("/dev/full").expect("it exists on Linux");
        let mut log = MetricsLog { file, path: "metrics.jsonl".into(), length: 0 };
        let error = log.append(&json!({ "step": 1 })).expect_err("no space");
        assert!(error.chain().starts_with("cannot append to metrics.jsonl: No space left"), "{}", error.chain());
    }
}
