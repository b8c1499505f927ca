//! One process a run.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::error::{CheckpointError, IoContext, Result};

/// The system's exclusive lock on a file, which holds the owner's process number. The lock ends with the process,
/// however it ends: a file that is left behind does not block anybody.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock, or says at once who has it.
    ///
    /// # Errors
    /// [`CheckpointError::Locked`]; [`CheckpointError::Io`].
    pub(crate) fn acquire(path: &Path) -> Result<Self> {
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.on("open the lock", path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::Locked { path: path.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(error).on("lock", path),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).on("write the lock", path)?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    /// The file stays: were it removed, two later processes could lock two different files of the same name.
    fn drop(&mut self) {
        // Nobody reads the number of an unlocked file, and closing unlocks.
        let _ = self.file.set_len(0);
    }
}

/// The number in the file. Its owner may not have written it yet.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_exclusive_until_dropped() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(".lock");
        let first = Lock::acquire(&path).expect("free");
        let me = Some(std::process::id());
        match Lock::acquire(&path).expect_err("held") {
            CheckpointError::Locked { holder, path: named } => assert_eq!((holder, named), (me, path.clone())),
            other => panic!("{other}"),
        }
        drop(first);
        Lock::acquire(&path).expect("free again");
    }

    #[test]
    fn what_a_dead_process_left_does_not_block() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(".lock");
        std::fs::write(&path, "4294967295 and more than any number would take\n").expect("room");
        let lock = Lock::acquire(&path).expect("nobody holds it");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), format!("{}\n", std::process::id()));
        drop(lock);
    }
}
