//! The lock that gives one process exclusive access to a run.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{CheckpointError, IoContext, Result};
use crate::own_file::{check_regular, has_other_names};

/// An exclusive lock of the operating system on a file that contains the id of the process that holds it.
///
/// The operating system releases the lock when the process ends, so that an old lock file has no effect.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    /// Whether the file has a name in another directory too. Then nothing is written to it.
    is_shared: bool,
}

impl Lock {
    /// Acquires the lock without waiting.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`] naming the process that holds the lock; [`CheckpointError::Io`].
    pub(crate) fn acquire(path: &Path) -> Result<Self> {
        check_regular(path)?;
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.on("open the lock", path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::Locked { path: path.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(error).on("lock", path),
        }
        let is_shared = has_other_names(&file.metadata().on("read", path)?);
        let mut lock = Self { file, is_shared };
        lock.write_holder().on("write the lock", path)?;
        Ok(lock)
    }
}

impl Lock {
    fn write_holder(&mut self) -> std::io::Result<()> {
        if self.is_shared {
            return Ok(());
        }
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())
    }
}

impl Drop for Lock {
    /// Empties the file. It is not removed, because two later processes could then lock two different files of that
    /// name.
    fn drop(&mut self) {
        // An error has no consequence: the id in an unlocked file is not read, and closing the file unlocks it.
        if !self.is_shared {
            let _ = self.file.set_len(0);
        }
    }
}

/// The process id in the file, if its owner has written it yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(".lock");
        let first = Lock::acquire(&path).expect("free");
        let own_id = Some(std::process::id());
        match Lock::acquire(&path).expect_err("held") {
            CheckpointError::Locked { holder, path: named } => assert_eq!((holder, named), (own_id, path.clone())),
            other => panic!("{other}"),
        }
        drop(first);
        Lock::acquire(&path).expect("free again");
    }

    #[test]
    fn a_file_left_behind_does_not_block() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(".lock");
        std::fs::write(&path, "4294967295 and more text than a process id has\n").expect("room");
        let lock = Lock::acquire(&path).expect("no process holds it");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), format!("{}\n", std::process::id()));
        drop(lock);
    }
}
