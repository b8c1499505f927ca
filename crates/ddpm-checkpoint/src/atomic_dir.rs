//! Directories of files that are there whole or not at all, with a manifest of their hashes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::atomic_file::write_new;
use crate::digest::FileDigest;
use crate::error::{IoContext, Result};
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::plain_name::check_plain_name;
use crate::temporary::{displaced_path, parent_of, remove_quietly, sync_directory, work_path};

/// A directory being written beside its target. Dropped before [`AtomicDir::commit`], it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct AtomicDir {
    target: PathBuf,
    temporary: PathBuf,
    files: BTreeMap<String, FileDigest>,
}

impl AtomicDir {
    /// Begins a directory that will become `target`. The parent must exist.
    ///
    /// # Errors
    /// [`Io`](crate::CheckpointError::Io) naming the target.
    pub(crate) fn begin(target: &Path) -> Result<Self> {
        let temporary = work_path(target)?;
        fs::create_dir(&temporary).on("create directory", target)?;
        Ok(Self { target: target.to_owned(), temporary, files: BTreeMap::new() })
    }

    /// Writes one file into it, synced and hashed. `body` gets the path that the file will have, for its errors.
    ///
    /// # Errors
    /// Those of `body`; [`Io`](crate::CheckpointError::Io); [`UnsafeName`](crate::CheckpointError::UnsafeName).
    pub(crate) fn write(&mut self, name: &str, body: impl FnOnce(&mut dyn Write, &Path) -> Result<()>) -> Result<()> {
        check_plain_name(name, &self.target)?;
        let shown = self.target.join(name);
        let digest = write_new(&self.temporary.join(name), &shown, |out| body(out, &shown))?;
        self.files.insert(name.to_owned(), digest);
        Ok(())
    }

    /// Writes the manifest and puts the directory in its place, instead of what was there.
    ///
    /// A directory cannot be renamed onto a full one: the old one steps aside for the moment between two renames. A
    /// process killed in that moment leaves the old one under a name from which the next opening of the run restores it.
    ///
    /// # Errors
    /// [`Io`](crate::CheckpointError::Io); what was at the target is then still there.
    pub(crate) fn commit(mut self) -> Result<()> {
        let manifest = Manifest::new(std::mem::take(&mut self.files));
        let shown = self.target.join(MANIFEST_NAME);
        write_new(&self.temporary.join(MANIFEST_NAME), &shown, |out| manifest.write(out, &shown))?;
        sync_directory(&self.temporary)?;
        let displaced = self.displace()?;
        if let Err(error) = fs::rename(&self.temporary, &self.target).on("put in place", &self.target) {
            if let Some(displaced) = displaced {
                fs::rename(&displaced, &self.target).on("put back", &self.target)?;
            }
            return Err(error);
        }
        sync_directory(parent_of(&self.target))?;
        if let Some(displaced) = displaced {
            remove_quietly(&displaced);
        }
        Ok(())
    }

    /// Moves what is at the target aside, and says where to.
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
    /// After a commit there is nothing at the temporary path any more.
    fn drop(&mut self) {
        remove_quietly(&self.temporary);
    }
}

/// Removes a directory so that no part of it is ever taken for the whole: it loses its name first.
///
/// # Errors
/// [`Io`](crate::CheckpointError::Io) when it cannot be renamed.
pub(crate) fn remove_directory(directory: &Path) -> Result<()> {
    let doomed = work_path(directory)?;
    match fs::rename(directory, &doomed) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.on("remove", directory)?,
    }
    sync_directory(parent_of(directory))?;
    remove_quietly(&doomed);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CheckpointError;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("it is there");
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
    fn nothing_has_the_targets_name_before_the_commit_and_nothing_else_after() {
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
        assert!(failed.expect_err("it fails").to_string().contains("t/a"));
        drop(dir);
        assert_eq!(names(parent.path()), ["t"]);
        assert_eq!(fs::read(target.join("a")).expect("intact"), b"old");
    }

    #[test]
    fn a_second_commit_replaces_the_first_even_a_file() {
        let parent = tempfile::tempdir().expect("temp dir");
        let target = parent.path().join("t");
        fs::write(&target, "a file in the way").expect("room");
        write_one(&target, b"1").expect("it steps aside");
        write_one(&target, b"2").expect("it steps aside");
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
    fn removing_is_complete_and_forgives_absence() {
        let parent = tempfile::tempdir().expect("temp dir");
        let target = parent.path().join("t");
        write_one(&target, b"1").expect("room");
        remove_directory(&target).expect("allowed");
        remove_directory(&target).expect("already gone");
        assert!(names(parent.path()).is_empty());
    }
}
