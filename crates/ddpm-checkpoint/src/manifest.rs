//! The manifest of a checkpoint, `manifest.json`: the size and the hash of each file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::{FileDigest, Hashing};
use crate::error::{CheckpointError, IoContext, Result};
use crate::plain_name::check_plain_name;
use crate::versioned_json::{self, FORMAT_VERSION};

/// The name of the manifest.
pub(crate) const MANIFEST_NAME: &str = "manifest.json";

/// The largest manifest that is read, in bytes. The manifest of a checkpoint has a few hundred.
const MAX_MANIFEST_BYTES: u64 = 1 << 16;

/// The size of the read buffer.
const BUFFER_BYTES: usize = 1 << 18;

/// The files of a directory, by name. A manifest that was read has plain file names only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format_version: u32,
    files: BTreeMap<String, FileDigest>,
}

impl Manifest {
    /// Creates the manifest of `files`.
    pub(crate) fn new(files: BTreeMap<String, FileDigest>) -> Self {
        Self { format_version: FORMAT_VERSION, files }
    }

    /// Writes the manifest as JSON to the file `path`, which errors name.
    ///
    /// # Errors
    /// [`CheckpointError::Io`], [`CheckpointError::TooLarge`].
    pub(crate) fn write(&self, out: &mut dyn Write, path: &Path) -> Result<()> {
        versioned_json::write(out, self, "manifest", MAX_MANIFEST_BYTES, path)
    }

    /// Reads the manifest of a directory and checks that every file exists and has the right size. The contents of the
    /// files are not read.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the file that is missing or has another size;
    /// [`CheckpointError::UnsafeName`]; the errors of reading the manifest.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST_NAME);
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            return Err(CheckpointError::damaged(directory, "it has no manifest.json"));
        }
        let mut file = File::open(&path).on("open", &path)?;
        let manifest: Self = versioned_json::read(&mut file, "manifest", MAX_MANIFEST_BYTES, &path)?;
        for (name, digest) in &manifest.files {
            check_plain_name(name, &path)?;
            check_presence(&directory.join(name), digest)?;
        }
        Ok(manifest)
    }

    /// Parses a file and checks its hash in the same pass. `parse` receives the reader, the length of the file and its
    /// path; it may stop before the end.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] if the manifest does not list the file or the hash differs, even if `parse` failed;
    /// otherwise the error of `parse`.
    pub(crate) fn read_file<T>(
        &self,
        directory: &Path,
        name: &str,
        parse: impl FnOnce(&mut dyn Read, u64, &Path) -> Result<T>,
    ) -> Result<T> {
        let path = directory.join(name);
        let not_listed = || CheckpointError::damaged(&directory.join(MANIFEST_NAME), format!("it lists no {name}"));
        let expected = self.files.get(name).ok_or_else(not_listed)?;
        let file = File::open(&path).on("open", &path)?;
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, Hashing::new(file));
        let parsed = parse(&mut reader, expected.bytes, &path);
        // The hash covers the whole file, also the part that the parser did not read.
        io::copy(&mut reader, &mut io::sink()).on("read", &path)?;
        check_digest(&path, expected, &reader.into_inner().finish().1)?;
        parsed
    }

    /// Checks the hash of every file.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`] naming the first file that differs; [`CheckpointError::Io`].
    pub(crate) fn verify(&self, directory: &Path) -> Result<()> {
        self.files.keys().try_for_each(|name| self.read_file(directory, name, |_, _, _| Ok(())))
    }

    /// The names of the files, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.files().map(|(name, _)| name)
    }

    /// The names, sizes and hashes of the files, in the order of their names.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &FileDigest)> {
        self.files.iter().map(|(name, digest)| (name.as_str(), digest))
    }

    /// Whether the manifest lists a file of that name.
    pub(crate) fn lists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }
}

/// Checks that a regular file of the expected size exists.
fn check_presence(path: &PathBuf, expected: &FileDigest) -> Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(CheckpointError::damaged(path, "it is missing, but the manifest lists it"));
        }
        found => found.on("access", path)?,
    };
    // A link may refer to a file outside of the directory, and reading a pipe may block.
    if !found.is_file() {
        return Err(CheckpointError::damaged(path, "it is not a regular file"));
    }
    if found.len() != expected.bytes {
        let problem = format!("it has {} bytes, the manifest says {}", found.len(), expected.bytes);
        return Err(CheckpointError::damaged(path, problem));
    }
    Ok(())
}

fn check_digest(path: &Path, expected: &FileDigest, found: &FileDigest) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let problem = format!("its SHA-256 is {}, the manifest says {}", found.sha256, expected.sha256);
    Err(CheckpointError::damaged(path, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verifies a directory with one file `a` and a manifest that `edit` changes, and compares the result with
    /// `expected`.
    fn check(edit: impl FnOnce(String) -> String, expected: &str) {
        let dir = tempfile::tempdir().expect("temp dir");
        let (_, digest) = {
            let mut hashing = Hashing::new(Vec::new());
            hashing.write_all(b"hello").expect("a Vec accepts every write");
            hashing.finish()
        };
        fs::write(dir.path().join("a"), "hello").expect("room");
        let mut text = Vec::new();
        let manifest = Manifest::new(BTreeMap::from([("a".to_owned(), digest)]));
        manifest.write(&mut text, Path::new("m")).expect("a Vec accepts every write");
        let text = edit(String::from_utf8(text).expect("JSON is UTF-8"));
        fs::write(dir.path().join(MANIFEST_NAME), text).expect("room");
        let verified = Manifest::read(dir.path()).and_then(|manifest| manifest.verify(dir.path()));
        let message = verified.map_or_else(|error| error.to_string(), |()| "valid".to_owned());
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_manifest_is_valid_only_if_all_files_match() {
        check(|text| text, "valid");
        check(|text| text.replace("\"a\"", "\"b\""), "b is damaged: it is missing");
        check(|text| text.replace("\"a\"", "\"../a\""), "`../a` is no plain file name");
        check(|text| text.replace("\"a\"", "\"/etc/passwd\""), "`/etc/passwd` is no plain file name");
        check(|text| text.replace(": 5", ": 6"), "it has 5 bytes, the manifest says 6");
        check(|text| text.replace("2cf2", "2CF2"), "a is damaged: its SHA-256");
        check(|text| text.replace("files", "flies"), "unknown field `flies`");
        check(|text| text.replace("\"format_version\": 1", "\"format_version\": 9"), "format version 9");
        check(|_| String::new(), "manifest.json is damaged");
        check(|text| text + &" ".repeat(1 << 16), "more than the 65536 allowed");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::write(dir.path().join("target"), "hello").expect("room");
        std::os::unix::fs::symlink(dir.path().join("target"), dir.path().join("a")).expect("link");
        let digest = FileDigest { bytes: 5, sha256: String::new() };
        let refused = check_presence(&dir.path().join("a"), &digest).expect_err("a link");
        assert!(refused.to_string().contains("not a regular file"), "{refused}");
    }
}
