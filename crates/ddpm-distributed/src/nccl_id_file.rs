//! A file through which rank 0 gives the other ranks the id of their communicator.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::error::DistributedError;

/// The environment variable that names the file. It must be on a file system that all hosts share.
pub(crate) const VARIABLE: &str = "DDPM_NCCL_ID_FILE";

/// The clocks of two hosts, and the start of two ranks, differ by less. An older file belongs to an earlier job.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A file of this job.
#[derive(Debug)]
pub(crate) struct IdFile(PathBuf);

impl IdFile {
    /// The file that [`VARIABLE`] names, or one in the temporary directory that MASTER_ADDR, MASTER_PORT and torchrun's
    /// run name, if all ranks are on one host.
    ///
    /// # Errors
    /// When the variables do not name a file that all ranks share.
    pub(crate) fn new(one_host: bool, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, DistributedError> {
        if let Some(path) = lookup(VARIABLE) {
            return Ok(Self(path.into()));
        }
        let parts = ["MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"].map(&lookup);
        let [Some(address), Some(port), run, restarts] = parts else { return Err(missing()) };
        if !one_host {
            return Err(missing());
        }
        let parts = [address, port, run.unwrap_or_default(), restarts.unwrap_or_default()];
        let name = parts.map(|part| part.replace(|c: char| !c.is_ascii_alphanumeric(), "_")).join("-");
        Ok(Self(std::env::temp_dir().join(format!("ddpm-nccl-{name}"))))
    }

    /// Writes the file, at once and in whole.
    pub(crate) fn publish(&self, bytes: &[u8]) -> Result<(), DistributedError> {
        let unfinished = self.0.with_extension("unfinished");
        let write = || {
            let mut file = fs::File::create(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.0)
        };
        write().map_err(|error| failed(&self.0, error))
    }

    /// Waits until rank 0 has written the file, and reads it.
    ///
    /// # Errors
    /// When there is no file of this job after `timeout`, or it cannot be read.
    pub(crate) fn read<const N: usize>(&self, timeout: Duration) -> Result<[u8; N], DistributedError> {
        let (start, oldest) = (Instant::now(), SystemTime::now() - TOLERANCE);
        while start.elapsed() < timeout {
            let current = fs::metadata(&self.0).and_then(|file| file.modified()).is_ok_and(|written| written > oldest);
            if current {
                let bytes = fs::read(&self.0).map_err(|error| failed(&self.0, error))?;
                return <[u8; N]>::try_from(bytes.as_slice())
                    .map_err(|_| failed(&self.0, format!("expected {N} bytes, found {}", bytes.len())));
            }
            std::thread::sleep(Duration::from_millis(20).min(timeout));
        }
        let seconds = timeout.as_secs_f64();
        Err(failed(&self.0, format!("rank 0 has not written it for {seconds:.0} s")))
    }

    /// Removes the file once all ranks have read it.
    pub(crate) fn remove(&self) {
        // Nobody reads it any more; the next job replaces it.
        let _ = fs::remove_file(&self.0);
    }
}

fn failed(path: &Path, reason: impl std::fmt::Display) -> DistributedError {
    DistributedError::library("NCCL", format!("{}: {reason}", path.display()))
}

fn missing() -> DistributedError {
    let expected = "a path on a file system that all hosts share, through which rank 0 passes NCCL's id; or \
                    NCCL_COMM_ID=HOST:PORT with the host of rank 0 and a free port";
    DistributedError::Variable { variable: VARIABLE.into(), expected: expected.into(), found: "nothing".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &tempfile::TempDir) -> IdFile {
        let path = folder.path().join("id").display().to_string();
        IdFile::new(false, |name| (name == VARIABLE).then(|| path.clone())).expect("a path")
    }

    #[test]
    fn what_rank_0_writes_the_others_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (written, read) = (file(&folder), file(&folder));
        let reader = std::thread::spawn(move || read.read::<4>(Duration::from_secs(20)));
        std::thread::sleep(Duration::from_millis(50));
        written.publish(&[1, 2, 3, 4]).expect("a writable folder");
        assert_eq!(reader.join().expect("no panic").expect("the bytes"), [1, 2, 3, 4]);
        let error = written.read::<3>(Duration::from_secs(1)).expect_err("another length").to_string();
        assert!(error.ends_with("expected 3 bytes, found 4"), "{error}");
        written.remove();
        assert!(fs::read_dir(folder.path()).expect("the folder").next().is_none());
    }

    #[test]
    fn the_file_of_an_earlier_job_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = file(&folder);
        file.publish(&[0; 4]).expect("a writable folder");
        let earlier = SystemTime::now() - TOLERANCE - Duration::from_secs(5);
        let open = fs::File::options().write(true).open(&file.0).expect("the file");
        open.set_modified(earlier).expect("a time");
        let error = file.read::<4>(Duration::from_millis(60)).expect_err("an old file").to_string();
        assert!(error.ends_with("rank 0 has not written it for 0 s"), "{error}");
    }

    #[test]
    fn the_name_comes_from_the_variables_of_torchrun_on_one_host() {
        let torchrun = |name: &str| match name {
            "MASTER_ADDR" => Some("node-1.example".to_string()),
            "MASTER_PORT" => Some("29500".to_string()),
            "TORCHELASTIC_RUN_ID" => Some("../x".to_string()),
            _ => None,
        };
        let path = IdFile::new(true, torchrun).expect("a name").0;
        assert_eq!(path, std::env::temp_dir().join("ddpm-nccl-node_1_example-29500-___x-"));
        for (one_host, with_variables) in [(false, true), (true, false)] {
            let file = IdFile::new(one_host, |name| if with_variables { torchrun(name) } else { None });
            let error = file.expect_err("no shared file").to_string();
            assert!(error.contains(VARIABLE) && error.contains("NCCL_COMM_ID=HOST:PORT"), "{error}");
        }
    }
}
