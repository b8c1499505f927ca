//! Several processes that use one run, and processes that are killed. Each test starts its own binary as the other
//! process.

mod fixture;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ddpm_checkpoint::{Checkpoint, CheckpointError, RunDir, verify_checkpoint};
use fixture::{assert_same, checkpoint, names};

/// The environment variable with the path of the run, which only the other process has.
const RUN_VARIABLE: &str = "DDPM_CHECKPOINT_TEST_RUN";

/// The path of the run if this is the other process.
fn other_process() -> Option<PathBuf> {
    env::var_os(RUN_VARIABLE).map(PathBuf::from)
}

/// The command that runs one test of this binary as the other process.
fn test_command(test: &str, run: &Path) -> Command {
    let mut command = Command::new(env::current_exe().expect("the test is running"));
    command.args(["--exact", test, "--nocapture"]).env(RUN_VARIABLE, run).stdout(Stdio::null());
    command
}

/// A child process that is killed when the test ends, also by a panic.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the other process has created `path`. The limit is long, because a disk that is busy with the writes of
/// other programs can hold an fsync for a minute.
fn wait_for(path: &Path, other: &mut KillOnDrop) {
    let start = Instant::now();
    while !path.exists() {
        if let Some(status) = other.0.try_wait().expect("it is a child") {
            panic!("the other process ended ({status}) before it created {}", path.display());
        }
        assert!(start.elapsed() < Duration::from_secs(300), "{} was not created", path.display());
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_run_is_locked_until_its_process_ends() {
    if let Some(run) = other_process() {
        let held = RunDir::open(&run).expect("free");
        fs::write(held.path().join("held"), "").expect("room");
        sleep(Duration::from_secs(120));
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("run");
    RunDir::create(&path).and_then(|run| run.save_config("")).expect("free");
    let name = "a_run_is_locked_until_its_process_ends";
    let mut other = KillOnDrop(test_command(name, &path).spawn().expect("started"));
    wait_for(&path.join("held"), &mut other);
    for taken in [RunDir::open(&path), RunDir::create(dir.path().join("run/../run"))] {
        match taken.expect_err("held") {
            CheckpointError::Locked { path: lock, holder } => {
                assert_eq!(holder, Some(other.0.id()));
                assert!(lock.starts_with(dir.path()));
            }
            CheckpointError::AlreadyARun { .. } => {}
            unexpected => panic!("{unexpected}"),
        }
    }
    other.0.kill().expect("alive until now");
    other.0.wait().expect("it ends");
    RunDir::open(&path).expect("a killed process holds no lock");
}

#[test]
fn a_process_killed_at_any_moment_leaves_only_valid_checkpoints() {
    if let Some(run) = other_process() {
        let mut run = RunDir::open(&run).expect("free");
        // Each step is saved twice, once as a new directory and once as a replacement.
        for step in (10..9_000).flat_map(|step| [step, step]) {
            run.save_checkpoint(&checkpoint(step)).expect("room");
            run.prune(&keep_few()).expect("allowed");
            fs::write(run.path().join("begun"), "").expect("room");
        }
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("run");
    let mut run = RunDir::create(&path).expect("free");
    run.save_config("").expect("room");
    run.save_checkpoint(&checkpoint(1)).expect("room");
    drop(run);
    let name = "a_process_killed_at_any_moment_leaves_only_valid_checkpoints";
    for round in 0_u64..12 {
        let mut other = KillOnDrop(test_command(name, &path).spawn().expect("started"));
        wait_for(&path.join("begun"), &mut other);
        // The delays differ by odd fractions of milliseconds, so that every phase of saving is interrupted.
        sleep(Duration::from_micros(5_000 + 3_919 * round));
        other.0.kill().expect("it does not end by itself");
        other.0.wait().expect("it ends");
        fs::remove_file(path.join("begun")).expect("allowed");
        let run = RunDir::open(&path).expect("a killed process holds no lock");
        assert!(names(&run.checkpoints_path()).iter().all(|name| name.starts_with("step-")));
        let entries = run.checkpoints().expect("listed");
        for entry in &entries {
            verify_checkpoint(&entry.path).expect("a checkpoint with its name is valid");
        }
        let latest = run.load_latest().expect("valid").expect("there is always one");
        assert_same(&latest, &checkpoint(entries[0].step));
        assert!(latest.step >= 10, "the other process saved");
    }
}

fn keep_few() -> ddpm_checkpoint::Retention {
    serde_json::from_str(r#"{ "keep_last": 3, "keep_every_steps": 10 }"#).expect("valid")
}

/// A limit of the operating system on the size of a file simulates a full disk: a write fails in the middle of a file.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_leaves_the_earlier_checkpoint_and_no_temporary_files() {
    if let Some(run) = other_process() {
        let mut run = RunDir::open(&run).expect("free");
        let mut large = checkpoint(200);
        large.training.insert("w".to_owned(), fixture::tensor(&vec![0.5; 1 << 20], &[1 << 20]));
        let error = run.save_checkpoint(&large).expect_err("4 MiB do not fit into 1 MiB");
        fs::write(run.path().join("message"), format!("{error}: {:?}", std::error::Error::source(&error)))
            .expect("room");
        return;
    }
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("run");
    let mut run = RunDir::create(&path).expect("free");
    run.save_config("").expect("room");
    run.save_checkpoint(&checkpoint(100)).expect("room");
    drop(run);
    let direct = test_command("a_failed_write_leaves_the_earlier_checkpoint_and_no_temporary_files", &path);
    let mut limited = Command::new("sh");
    // With the signal ignored, exceeding the limit is an error of write. The unit is 512 or 1024 bytes, by the shell.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""]).arg(direct.get_program());
    limited.args(direct.get_args()).env(RUN_VARIABLE, &path).stdout(Stdio::null());
    assert!(limited.status().expect("started").success());
    let message = fs::read_to_string(path.join("message")).expect("the other process wrote it");
    assert!(message.contains("training.safetensors") && message.contains("FileTooLarge"), "{message}");
    assert_eq!(names(&path.join("checkpoints")), ["step-000100"]);
    assert_same(&Checkpoint::load(path.join("checkpoints/step-000100")).expect("intact"), &checkpoint(100));
}
