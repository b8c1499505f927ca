//! Paths that a user may give in place of a model.

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ddpm_checkpoint::{RunDir, find_saved_model, newest_run, write_tensors};
use fixture::{bits, checkpoint, flip};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Creates a run with checkpoints of the steps 100 and 200.
fn run(path: &Path) -> PathBuf {
    let mut run = RunDir::create(path).expect("free");
    run.save_config("").expect("room");
    run.save_checkpoint(&checkpoint(100)).expect("room");
    run.save_checkpoint(&checkpoint(200)).expect("room");
    path.to_owned()
}

fn assert_finds(path: &Path, step: u64) {
    let model = find_saved_model(path).expect("a model");
    assert_eq!(model.step(), step);
    assert_eq!(bits(&model.tensors), bits(&checkpoint(step).model));
    assert_eq!(model.description, checkpoint(step).description);
    assert!(model.path.ends_with(format!("step-{step:06}/model.safetensors")), "{}", model.path.display());
}

#[test]
fn a_model_is_found_by_every_path() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = run(&dir.path().join("run"));
    assert_finds(&run, 200);
    assert_finds(&run.join("checkpoints"), 200);
    assert_finds(&run.join("checkpoints/"), 200);
    assert_finds(&run.join("checkpoints/step-000100"), 100);
    assert_finds(&run.join("checkpoints/step-000100/model.safetensors"), 100);
    assert_eq!(newest_run(dir.path()).expect("listed"), Some(run));
}

#[test]
fn a_model_is_found_while_its_run_is_held() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = run(&dir.path().join("run"));
    let _held = RunDir::open(&path).expect("free");
    assert_finds(&path, 200);
}

#[test]
fn a_damaged_checkpoint_is_skipped_with_a_warning() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = run(&dir.path().join("run"));
    flip(&path.join("checkpoints/step-000200/model.safetensors"), 0);
    let warnings = warnings_of(|| assert_finds(&path, 100));
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("step-000200") && warnings[0].contains("model.safetensors"), "{}", warnings[0]);
    // If its own path is given, it is an error.
    let error = find_saved_model(path.join("checkpoints/step-000200")).expect_err("damaged");
    assert!(error.to_string().contains("model.safetensors is damaged: its SHA-256"), "{error}");
}

fn check(path: &Path, expected: &str) {
    let message = find_saved_model(path).expect_err("no model").to_string();
    assert!(message.contains(expected), "{}: {message}", path.display());
    let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert!(message.contains(name), "{message}");
}

#[test]
fn other_paths_are_refused_with_a_description() {
    let dir = tempfile::tempdir().expect("temp dir");
    let at = |name: &str| dir.path().join(name);
    check(&at("gone"), "does not exist");
    fs::create_dir(at("empty")).expect("new");
    check(&at("empty"), "is no model: an empty directory");
    fs::write(at("notes.txt"), "This text is long enough for the header of a tensor file.").expect("room");
    check(&at("notes.txt"), "is not a safetensors file");
    fs::write(at("short"), "few").expect("room");
    check(&at("short"), "3 bytes are too few");
    fs::write(at("nothing"), "").expect("room");
    check(&at("nothing"), "0 bytes are too few");
    write_tensors(at("plain.safetensors"), &checkpoint(1).model).expect("room");
    check(&at("plain.safetensors"), "no description of their network");
    RunDir::create(at("young")).and_then(|run| run.save_config("")).expect("free");
    check(&at("young"), "has no checkpoint yet");
    check(&at("young/checkpoints"), "has no checkpoint yet");
    fs::create_dir(at("export")).expect("new");
    fs::write(at("export/model.safetensors"), "").expect("room");
    check(&at("export"), "without manifest.json");
    fs::create_dir(at("runs")).expect("new");
    run(&at("runs/a"));
    check(&at("runs"), "a directory of runs");
    fs::create_dir_all(at("images/a")).expect("new");
    check(&at("images"), "a directory with 1 entries");
    fs::create_dir(at("step-000001")).expect("new");
    check(&at("step-000001"), "it has no manifest.json");
}

/// The warnings that `action` logs on this thread.
fn warnings_of(action: impl FnOnce()) -> Vec<String> {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), action);
    warnings.0.lock().expect("no panic before").clone()
}

/// A subscriber that collects the messages of warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().expect("no panic before").push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// The message of an event.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{value:?}");
    }
}
