//! Damaged and hostile files cause an error that names the file, and never a panic, a hang or a huge allocation.

mod fixture;

use std::fs;
use std::path::{Path, PathBuf};

use ddpm_checkpoint::{
    Checkpoint, CheckpointError, RunDir, find_saved_model, read_model, read_tensors, verify_checkpoint, write_model,
};
use fixture::{assert_same, checkpoint, description, files, flip};

fn saved(dir: &Path) -> PathBuf {
    checkpoint(500).save(dir).expect("room")
}

/// Checks that loading and verifying the checkpoint both fail with an error that names the file.
fn assert_refused(checkpoint: &Path, file: &Path) {
    let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    for error in [Checkpoint::load(checkpoint).map(|_| ()), verify_checkpoint(checkpoint)].map(Result::unwrap_err) {
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

#[test]
fn a_missing_or_truncated_file_is_detected() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = saved(dir.path());
    for file in files(&path) {
        let original = fs::read(&file).expect("readable");
        for length in (0..original.len()).step_by(64).chain([original.len() - 1]) {
            fs::write(&file, &original[..length]).expect("room");
            // The manifest is still complete without its last line feed.
            if !(file.ends_with("manifest.json") && length == original.len() - 1) {
                assert_refused(&path, &file);
            }
        }
        fs::remove_file(&file).expect("allowed");
        assert_refused(&path, &file);
        fs::write(&file, &original).expect("room");
    }
    assert_same(&Checkpoint::load(&path).expect("restored"), &checkpoint(500));
}

#[test]
fn every_flipped_bit_is_detected() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = saved(dir.path());
    for file in files(&path) {
        let original = fs::read(&file).expect("readable");
        let mut flipped = original.clone();
        for bit in 0..original.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &flipped).expect("room");
            assert!(Checkpoint::load(&path).is_err(), "bit {bit} of {}", file.display());
            flipped[bit / 8] = original[bit / 8];
        }
        fs::write(&file, &original).expect("room");
    }
    assert_same(&Checkpoint::load(&path).expect("restored"), &checkpoint(500));
}

/// A model file outside of a checkpoint has no manifest, so that a flipped bit can remain undetected. Reading must
/// still end, without a panic.
#[test]
fn a_model_file_is_refused_when_truncated_and_any_flip_causes_no_panic() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("m.safetensors");
    write_model(&path, &description(3), &checkpoint(3).model).expect("room");
    let original = fs::read(&path).expect("readable");
    for length in 0..original.len() {
        fs::write(&path, &original[..length]).expect("room");
        let error = find_saved_model(&path).expect_err("truncated");
        assert!(error.to_string().contains("m.safetensors"), "{length}: {error}");
    }
    let mut flipped = original.clone();
    for bit in 0..original.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &flipped).expect("room");
        let _ = read_model(&path);
        flipped[bit / 8] = original[bit / 8];
    }
}

#[test]
fn a_manifest_cannot_name_files_outside_of_its_directory() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = saved(dir.path());
    let manifest = path.join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("readable");
    for name in ["../model.safetensors", "/etc/passwd", "..", "a/b", "a\\\\b"] {
        fs::write(&manifest, text.replace("state.json", name)).expect("room");
        let error = Checkpoint::load(&path).expect_err("the name is unsafe");
        assert!(matches!(error, CheckpointError::UnsafeName { .. }), "{name}: {error}");
    }
}

fn model_with_header(header: &[u8], announced: u64, data: &[u8]) -> CheckpointError {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("m.safetensors");
    fs::write(&path, [&announced.to_le_bytes(), header, data].concat()).expect("room");
    read_model(&path).expect_err("hostile")
}

#[test]
fn wrong_headers_are_refused() {
    for announced in [1 << 60, u64::MAX, u64::MAX - 7, 1 << 32, 200] {
        let error = model_with_header(&[b' '; 100], announced, &[]);
        assert!(error.to_string().contains("expected a header of"), "{error}");
    }
    let huge = br#"{"w":{"dtype":"F32","shape":[1073741824],"data_offsets":[0,4294967296]}}"#;
    let error = model_with_header(huge, huge.len() as u64, &[0; 8]);
    assert!(error.to_string().contains("expected 4294967296 bytes of tensors, found 8"), "{error}");
}

#[test]
fn deep_and_wide_json_is_bounded() {
    // The parser limits the depth.
    let deep = [b"{\"__metadata__\":".as_slice(), &b"[".repeat(1 << 20)].concat();
    assert!(matches!(model_with_header(&deep, deep.len() as u64, &[]), CheckpointError::Damaged { .. }));
    // The size is checked before the JSON is parsed.
    let wide = vec![b'['; 9 << 20];
    assert!(matches!(model_with_header(&wide, wide.len() as u64, &[]), CheckpointError::TooLarge { .. }));
    // The description is JSON in a string of the JSON of the header.
    for inner in ["[".repeat(100_000), format!("\\\"{}\\\"", "x".repeat(2 << 20)), String::new(), "null".to_owned()] {
        let header = format!("{{\"__metadata__\":{{\"ddpm\":\"{inner}\"}}}}");
        let error = model_with_header(header.as_bytes(), header.len() as u64, &[]);
        let refused = matches!(error, CheckpointError::Damaged { .. } | CheckpointError::TooLarge { .. });
        assert!(refused, "{error}");
    }
}

#[test]
fn a_newer_format_is_reported_as_newer() {
    let mut newer = description(1);
    newer.format_version = 2;
    let header = serde_json::json!({ "__metadata__": { "ddpm": serde_json::to_string(&newer).expect("plain") } });
    let header = header.to_string();
    let error = model_with_header(header.as_bytes(), header.len() as u64, &[]);
    assert!(error.to_string().contains("format version 2; this program reads up to 1"), "{error}");
    let dir = tempfile::tempdir().expect("temp dir");
    let refused = write_model(dir.path().join("m"), &newer, &checkpoint(1).model)
        .expect_err("only the present version is written");
    assert!(refused.to_string().contains("`format_version`"), "{refused}");
}

#[test]
fn only_regular_files_are_opened() {
    let dir = tempfile::tempdir().expect("temp dir");
    assert!(matches!(read_tensors(dir.path()), Err(CheckpointError::NotAModel { .. })));
    assert!(matches!(read_tensors(dir.path().join("gone")), Err(CheckpointError::NotFound { .. })));
    if cfg!(unix) {
        // Reading this device would never end.
        assert!(matches!(read_tensors("/dev/zero"), Err(CheckpointError::NotAModel { .. })));
    }
}

#[test]
fn the_newest_valid_checkpoint_is_used_and_the_damaged_ones_are_named() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut run = RunDir::create(dir.path().join("run")).expect("free");
    run.save_config("").expect("room");
    assert!(run.load_latest().expect("none yet").is_none());
    let paths: Vec<_> = [100, 200, 300].map(|step| run.save_checkpoint(&checkpoint(step)).expect("room")).into();
    flip(&paths[2].join("training.safetensors"), 0);
    fs::remove_file(paths[1].join("manifest.json")).expect("allowed");
    let entry = run.latest_valid().expect("one is valid").expect("there are some");
    assert_eq!((entry.step, &entry.path), (100, &paths[0]));
    assert_same(&run.load_latest().expect("one is valid").expect("there are some"), &checkpoint(100));
    flip(&paths[0].join("state.json"), 5);
    let message = run.load_latest().expect_err("all are damaged").to_string();
    for part in ["none of the 3 checkpoints", "training.safetensors", "step-000200", "manifest.json", "state.json"] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn every_difference_between_tensors_and_network_is_listed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let model = find_saved_model(saved(dir.path())).expect("valid");
    let expected = [("downs.0.weight", vec![2, 3]), ("mid.weight", vec![1])];
    let expected = expected.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect();
    let message = model.check_names(&expected).expect_err("three differences").to_string();
    assert_eq!(message.split("; ").count(), 3, "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("model.safetensors does not fit"), "{message}");
}
