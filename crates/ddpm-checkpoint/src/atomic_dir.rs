//! Directories that are created, replaced and removed atomically, with a manifest of the hashes of their files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::atomic_file::write_new;
use crate::digest::FileDigest;
use crate::directory_sync::{parent_of, sync_directory};
use crate::error::{IoContext, Result};
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::plain_name::check_plain_name;
use crate::temporary::{displaced_path, remove_or_warn, temporary_path};

/// A directory that is written under a temporary name beside its target. If it is dropped before [`AtomicDir::commit`],
/// the temporary directory is removed.
#[derive(Debug)]
pub(crate) struct AtomicDir {
    target: PathBuf,
    temporary: PathBuf,
    files: BTreeMap<String, FileDigest>,
}

impl AtomicDir {
    /// Creates the temporary directory for `target`, whose parent must exist.
    ///
    /// # Errors
    /// [`Io`](crate::CheckpointError::Io) naming the target.
    pub(crate) fn begin(target: &Path) -> Result<Self> {
        let temporary = temporary_path(target)?;
        fs::create_dir(&temporary).on("create directory", target)?;
        Ok(Self { target: target.to_owned(), temporary, files: BTreeMap::new() })
    }

    /// Writes, syncs and hashes one file. `body` receives the path that the file will have after the commit, for its
    /// errors.
    ///
    /// # Errors
    /// The errors of `body`; [`Io`](crate::CheckpointError::Io); [`UnsafeName`](crate::CheckpointError::UnsafeName).
    pub(crate) fn write(&mut self, name: &str, body: impl FnOnce(&mut dyn Write, &Path) -> Result<()>) -> Result<()> {
        check_plain_name(name, &self.target)?;
        let shown = self.target.join(name);
        let digest = write_new(&self.temporary.join(name), &shown, |out| body(out, &shown))?;
        self.files.insert(name.to_owned(), digest);
        Ok(())
    }

    /// Adds the file `name` of another directory, which has the size and hash `digest`. Where the file system allows
    /// it, both directories share the file.
    ///
    /// # Errors
    /// [`Io`](crate::CheckpointError::Io).
    pub(crate) fn link(&mut self, name: &str, from: &Path, digest: &FileDigest) -> Result<()> {
        let (source, target) = (from.join(name), self.temporary.join(name));
        if fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target).on("copy", &source)?;
        }
        self.files.insert(name.to_owned(), digest.clone());
        Ok(())
    }

    /// Writes the manifest and renames the directory to its target, replacing what exists there.
    ///
    /// A directory cannot be renamed to a directory that is not empty, so the previous one is renamed first. If the
    /// process is killed between the two renames, the previous directory has a displaced name, from which it is
    /// restored when the run is opened again.
    ///
    /// # Errors
    /// [`Io`](crate::CheckpointError::Io). What existed at the target is then unchanged.
    pub(crate) fn commit(mut self) -> Result<()> {
        let manifest = Manifest::new(std::mem::take(&mut self.files));
        let shown = self.target.join(MANIFEST_NAME);
        write_new(&self.temporary.join(MANIFEST_NAME), &shown, |out| manifest.write(out, &shown))?;
        sync_directory(&self.temporary)?;
        let displaced = self.displace()?;
        if let Err(error) = fs::rename(&self.temporary, &self.target).on("move the new directory to", &self.target) {
            if let Some(displaced) = displaced {
                fs::rename(&displaced, &self.target).on("restore", &self.target)?;
            }
            return Err(error);
        }
        sync_directory(parent_of(&self.target))?;
        if let Some(displaced) = displaced {
            remove_or_warn(&displaced);
        }
        Ok(())
    }

    /// Renames what exists at the target, and returns its new path.
    fn displace(&self) -> Result<Option<PathBuf>> {
        if fs::symlink_metadata(&self.target).is_err() {
            return Ok(None);
        }
        let displaced = displaced_path(&self.target)?;
        fs::rename(&self.target, &displaced).on("replace", &self.target)?;
        Ok(Some(displaced))
    }
}

impl Drop for AtomicDir {
    /// Removes the temporary directory, which no longer exists after a commit.
    fn drop(&mut self) {
        remove_or_warn(&self.temporary);
    }
}

/// Removes a directory. It is renamed first, so that a partly removed directory never has the original name. A
/// directory that does not exist is ignored.
///
/// # Errors
/// [`Io`](crate::CheckpointError::Io) if it cannot be renamed.
pub(crate) fn remove_directory(directory: &Path) -> Result<()> {
    let temporary = temporary_path(directory)?;
    match fs::rename(directory, &temporary) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.on("remove", directory)?,
    }
    sync_directory(parent_of(directory))?;
    remove_or_warn(&temporary);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CheckpointError;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("it exists");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn write_one(target: &Path, content: &[u8]) -> Result<()> {
        let mut dir = AtomicDir::begin(target)?;
        dir.write("a", |out, path| out.write_all(content).on("write", path))?;
        dir.commit()
    }

    #[test]
    fn only_the_commit_creates_the_target() {
        let parent = tempfile::tempdir().expect("temp dir");
        let target = parent.path().join("t");
        let mut dir = AtomicDir::begin(&target).expect("room");
        dir.write("a", |out, path| out.write_all(b"1").on("write", path)).expect("room");
        assert!(!target.exists());
        dir.commit().expect("free");
        assert_eq!(names(parent.path()), ["t"]);
        assert_eq!(names(&target), ["a", "manifest.json"]);
    }

    #[test]
    fn an_abandoned_directory_leaves_nothing() {
        let parent = tempfile::tempdir().expect("temp dir");
        let target = parent.path().join("t");
        write_one(&target, b"old").expect("room");
        let mut dir = AtomicDir::begin(&target).expect("room");
        let failed = dir.write("a", |_, path| Err(CheckpointError::damaged(path, "on purpose")));
        assert!(failed.expect_err("the body fails").to_string().contains("t/a"));
        drop(dir);
        assert_eq!(names(parent.path()), ["t"]);
        assert_eq!(fs::read(target.join("a")).expect("intact"), b"old");
    }

    #[test]
    fn a_commit_replaces_a_file_or_a_directory() {
        let parent = tempfile::tempdir().expect("temp dir");
        let target = parent.path().join("t");
        fs::write(&target, "a file in the way").expect("room");
        write_one(&target, b"1").expect("the previous one is displaced");
        write_one(&target, b"2").expect("the previous one is displaced");
        assert_eq!(fs::read(target.join("a")).expect("new"), b"2");
        assert_eq!(names(parent.path()), ["t"]);
    }

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        let parent = tempfile::tempdir().expect("temp dir");
        let mut dir = AtomicDir::begin(&parent.path().join("t")).expect("room");
        assert!(matches!(dir.write("../x", |_, _| Ok(())), Err(CheckpointError::UnsafeName { .. })));
    }

    #[test]
    fn removing_is_complete_and_ignores_absence() {
        let parent = tempfile::tempdir().expect("temp dir");
        let target = parent.path().join("t");
        write_one(&target, b"1").expect("room");
        remove_directory(&target).expect("allowed");
        remove_directory(&target).expect("already gone");
        assert!(names(parent.path()).is_empty());
    }
}
