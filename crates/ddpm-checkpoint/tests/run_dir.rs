//! Creating, continuing and pruning a run directory.

mod fixture;

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;

use ddpm_checkpoint::{CheckpointError, Retention, RunDir, read_metrics};
use fixture::{assert_same, checkpoint, flip, names};
use serde_json::{Value, json};

/// Creates a run with a configuration.
fn new_run(path: &Path) -> RunDir {
    let run = RunDir::create(path).expect("free");
    run.save_config("[train]\n").expect("room");
    run
}

fn retention(keep_last: usize, every: u64) -> Retention {
    let keep_last = NonZeroUsize::new(keep_last).expect("at least 1");
    Retention { keep_last, keep_every_steps: NonZeroU64::new(every) }
}

#[test]
fn a_run_is_created_once_and_can_be_opened() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("runs/digits");
    assert!(!RunDir::is_run(&path));
    assert!(matches!(RunDir::open(&path), Err(CheckpointError::NotFound { .. })));
    drop(new_run(&path));
    assert_eq!(names(&path), [".lock", "checkpoints", "config.toml", "samples"]);
    assert!(RunDir::is_run(&path));
    assert!(matches!(RunDir::create(&path), Err(CheckpointError::AlreadyARun { .. })));
    let run = RunDir::open(&path).expect("free");
    assert_eq!(run.read_config().expect("readable"), "[train]\n");
}

#[test]
fn other_directories_are_refused_and_unchanged() {
    let dir = tempfile::tempdir().expect("temp dir");
    fs::write(dir.path().join("notes"), "mine").expect("room");
    assert!(matches!(RunDir::open(dir.path()), Err(CheckpointError::NotARun { .. })));
    assert_eq!(names(dir.path()), ["notes"]);
    // A file in place of a directory causes an error for every user, including root.
    for path in [dir.path().join("notes"), dir.path().join("notes/run")] {
        let error = RunDir::create(&path).expect_err("a file is in the way");
        assert!(
            error.to_string().contains("cannot create directory") && error.to_string().contains("notes"),
            "{error}"
        );
    }
}

#[test]
fn every_new_run_has_another_name() {
    let root = tempfile::tempdir().expect("temp dir");
    let runs: Vec<_> = (0..3).map(|_| RunDir::create_next(root.path().join("runs"), "digits").expect("free")).collect();
    let given: Vec<_> = runs.iter().map(|run| run.path().file_name().expect("named").to_owned()).collect();
    assert_eq!(given, ["digits", "digits-2", "digits-3"]);
    assert!(RunDir::create_next(root.path(), "../out").is_err());
}

#[test]
fn opening_a_run_removes_what_a_killed_process_left() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = new_run(dir.path());
    run.save_checkpoint(&checkpoint(100)).expect("room");
    run.save_checkpoint(&checkpoint(200)).expect("room");
    let checkpoints = run.checkpoints_path();
    drop(run);
    let incomplete = checkpoints.join(".ddpm-tmp-4242-7-step-000300");
    fs::create_dir(&incomplete).expect("new");
    fs::write(incomplete.join("model.safetensors"), "half").expect("room");
    fs::write(dir.path().join(".ddpm-tmp-4242-8-config.toml"), "half").expect("room");
    fs::write(dir.path().join("samples/.ddpm-tmp-4242-9-step-000300.png"), "half").expect("room");
    // A process killed between the two renames of a replacement leaves the previous checkpoint displaced.
    fs::rename(checkpoints.join("step-000200"), checkpoints.join(".ddpm-old-4242-9-step-000200")).expect("free");
    let run = RunDir::open(dir.path()).expect("free");
    assert_eq!(names(&checkpoints), ["step-000100", "step-000200"]);
    assert_eq!(names(dir.path()), [".lock", "checkpoints", "config.toml", "samples"]);
    assert!(names(&run.samples_path()).is_empty());
    assert_same(&run.load_latest().expect("valid").expect("some"), &checkpoint(200));
}

#[test]
fn saving_a_step_again_replaces_its_checkpoint() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = new_run(dir.path());
    let first = run.save_checkpoint(&checkpoint(100)).expect("room");
    flip(&first.join("model.safetensors"), 0);
    run.save_checkpoint(&checkpoint(100)).expect("room");
    assert_same(&run.load_latest().expect("valid").expect("some"), &checkpoint(100));
    assert_eq!(names(&run.checkpoints_path()), ["step-000100"]);
}

#[test]
fn old_checkpoints_are_removed_and_milestones_kept() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = new_run(dir.path());
    let mut removed = Vec::new();
    for step in (100..=900).step_by(100) {
        run.save_checkpoint(&checkpoint(step)).expect("room");
        removed.extend(run.prune(&retention(2, 500)).expect("allowed"));
    }
    assert_eq!(removed, [100, 200, 300, 400, 600, 700]);
    assert_eq!(names(&run.checkpoints_path()), ["step-000500", "step-000800", "step-000900"]);
}

#[test]
fn the_newest_valid_checkpoint_is_never_pruned() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = new_run(dir.path());
    let paths: Vec<_> =
        [100, 200, 300, 400].iter().map(|&step| run.save_checkpoint(&checkpoint(step)).expect("room")).collect();
    drop(run);
    flip(&paths[2].join("model.safetensors"), 0);
    flip(&paths[3].join("state.json"), 9);
    let mut run = RunDir::open(dir.path()).expect("free");
    assert_eq!(run.prune(&retention(1, 0)).expect("allowed"), [300, 100]);
    assert_eq!(names(&run.checkpoints_path()), ["step-000200", "step-000400"]);
    // If no checkpoint is valid, none is removed.
    flip(&paths[1].join("model.safetensors"), 0);
    assert!(matches!(run.prune(&retention(1, 0)), Err(CheckpointError::NoValidCheckpoint { .. })));
    assert_eq!(names(&run.checkpoints_path()).len(), 2);
}

#[test]
fn a_run_that_returned_to_an_earlier_step_keeps_what_it_saves() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = new_run(dir.path());
    for step in [100, 200, 300] {
        run.save_checkpoint(&checkpoint(step)).expect("room");
    }
    // The run continues from step 100 while the later checkpoints still exist.
    run.save_checkpoint(&checkpoint(150)).expect("room");
    assert_eq!(run.prune(&retention(1, 0)).expect("allowed"), [200, 100]);
    assert_eq!(names(&run.checkpoints_path()), ["step-000150", "step-000300"]);
    assert_eq!(run.discard_checkpoints_after(150).expect("allowed"), [300]);
    assert_eq!(names(&run.checkpoints_path()), ["step-000150"]);
}

#[test]
fn discarding_keeps_checkpoints_that_cannot_be_read() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = new_run(dir.path());
    let paths: Vec<_> =
        [100, 200, 300].iter().map(|&step| run.save_checkpoint(&checkpoint(step)).expect("room")).collect();
    flip(&paths[1].join("training.safetensors"), 0);
    let manifest = paths[2].join("manifest.json");
    let written = fs::read_to_string(&manifest).expect("valid");
    fs::write(&manifest, written.replace("\"format_version\": 1", "\"format_version\": 2")).expect("room");
    assert!(matches!(run.load_latest(), Err(CheckpointError::NewerFormat { .. })));
    assert!(matches!(run.discard_checkpoints_after(100), Err(CheckpointError::NewerFormat { .. })));
    assert_eq!(names(&run.checkpoints_path()), ["step-000100", "step-000200", "step-000300"]);
    fs::write(&manifest, written).expect("room");
    assert_eq!(run.discard_checkpoints_after(100).expect("allowed"), [300, 200]);
    assert_eq!(names(&run.checkpoints_path()), ["step-000100", "step-000200.damaged"]);

    // All hashes match, but the checkpoint is not that of its name.
    let renamed = run.save_checkpoint(&checkpoint(300)).expect("room");
    fs::rename(renamed, run.checkpoints_path().join("step-000400")).expect("free");
    assert_eq!(run.load_latest().expect("one is usable").expect("one is there").step, 100);
    assert_eq!(run.discard_checkpoints_after(100).expect("allowed"), [400]);
    assert_eq!(names(&run.checkpoints_path()), ["step-000100", "step-000200.damaged", "step-000400.damaged"]);
}

#[test]
fn metrics_continue_after_the_step_of_the_checkpoint() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = new_run(dir.path());
    let mut metrics = run.metrics(0).expect("new");
    for step in 1..=5 {
        metrics.append(&json!({ "step": step, "loss": 1.0 / f64::from(step) })).expect("room");
    }
    drop(metrics);
    let mut metrics = run.metrics(3).expect("there");
    metrics.append(&json!({ "step": 4, "loss": 9 })).expect("room");
    let lines: Vec<Value> = read_metrics(run.metrics_path()).expect("readable");
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_u64()).collect();
    assert_eq!(steps, [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(lines[3]["loss"], 9);
}

#[test]
fn a_failed_save_is_named_and_leaves_earlier_checkpoints() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = new_run(dir.path());
    let saved = run.save_checkpoint(&checkpoint(100)).expect("room");
    let aside = dir.path().join("aside");
    fs::rename(run.checkpoints_path(), &aside).expect("free");
    // No user can create an entry in a file.
    fs::write(run.checkpoints_path(), "").expect("room");
    let error = run.save_checkpoint(&checkpoint(200)).expect_err("no directory");
    assert!(
        error.to_string().contains("cannot create directory") && error.to_string().contains("step-000200"),
        "{error}"
    );
    fs::remove_file(run.checkpoints_path()).expect("allowed");
    fs::rename(&aside, run.checkpoints_path()).expect("free");
    assert!(saved.exists());
    assert_same(&run.load_latest().expect("valid").expect("some"), &checkpoint(100));
}

#[cfg(unix)]
#[test]
fn modes_follow_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("temp dir");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode();
    fs::create_dir(dir.path().join("plain")).expect("new");
    fs::write(dir.path().join("plain/file"), "").expect("room");
    let mut run = new_run(&dir.path().join("run"));
    let saved = run.save_checkpoint(&checkpoint(1)).expect("room");
    assert_eq!(mode(&saved), mode(&dir.path().join("plain")));
    for file in fixture::files(&saved) {
        assert_eq!(mode(&file), mode(&dir.path().join("plain/file")), "{}", file.display());
    }
}
