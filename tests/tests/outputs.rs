//! Standard error and standard output that cannot be written to, and devices as output files.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::File;

use ddpm_tests::{Program, sample, train};

const SMALL: &str = "--set model.base_channels=8 --set model.attention_heads=1 --set model.attention_head_channels=8 \
                     --batch-size 8 --set sample.preview_images=0 --steps 2 --out a";

/// A device on which every write fails with "no space left on device".
fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn code(program: Program) -> Option<i32> {
    program.output().status.code()
}

#[test]
fn a_full_standard_error_stops_neither_program() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(code(train(root.path()).args(SMALL).args("-v").stderr(full())), Some(0));
    assert!(root.path().join("a/checkpoints/step-000002").is_dir());
    assert_eq!(code(sample(root.path()).args("a -v -n 1 --steps 1").stderr(full())), Some(0));
    assert_eq!(code(sample(root.path()).args("a --steps 0").stderr(full())), Some(2));
}

#[test]
fn a_full_standard_output_is_an_error_of_one_line() {
    let root = tempfile::tempdir().unwrap();
    let small = format!("{SMALL} --benchmark 1");
    for program in [
        train(root.path()).args(&small),
        train(root.path()).args("--dry-run"),
        train(root.path()).args("--completions bash"),
        sample(root.path()).args("--completions bash"),
    ] {
        let error = program.stdout(full()).fail(1);
        assert!(error.contains("standard output: No space left"), "{error}");
    }
    assert!(train(root.path()).args("--completions bash").succeed().contains("--benchmark"));
    assert!(sample(root.path()).args("--completions fish").succeed().contains("save-tensors"));
}

#[test]
fn configurations_too_large_for_any_machine_are_refused_before_they_are_built() {
    let root = tempfile::tempdir().unwrap();
    for (args, expected) in [
        ("--set model.image_size=1000000", "model.image_size"),
        ("--set model.base_channels=100000", "model.base_channels"),
        ("--set model.attention_heads=1000000", "model.attention_heads"),
        ("--batch-size 1000000000", "train.batch_size: expected at most"),
        ("--batch-size 9000000000000000000", "train.batch_size: expected at most"),
    ] {
        let error = train(root.path()).args(args).args("--benchmark 1").fail(2);
        assert!(error.contains(expected), "{args}: {error}");
    }
}

#[test]
fn errors_of_a_configuration_name_the_field_or_the_file() {
    let root = tempfile::tempdir().unwrap();
    for (key, known) in
        [("sample.step=5", "`preview_steps`"), ("diffusion.beta=1", "`beta_start`"), ("train.step=1", "`steps`")]
    {
        let error = train(root.path()).args("--dry-run --set").arg(key).fail(2);
        assert!(error.contains("unknown field") && error.contains(known), "{error}");
    }
    let error = train(root.path()).args("--set model.channels=-1 --dry-run").fail(2);
    assert!(error.contains("[model]") && error.contains("channels"), "{error}");
    std::fs::write(root.path().join("c.toml"), "model = 1").unwrap();
    let error = train(root.path()).args("--config c.toml --dry-run").fail(2);
    assert!(error.contains("c.toml: model: expected a table, found integer"), "{error}");
    std::fs::create_dir(root.path().join("a")).unwrap();
    std::fs::write(root.path().join("a/config.toml"), "").unwrap();
    let error = train(root.path()).args("--out a").fail(2);
    assert!(error.contains("config.toml of the resumed run: expected a table [model]"), "{error}");
}

#[test]
fn a_path_without_images_is_wrong_usage() {
    let root = tempfile::tempdir().unwrap();
    let error = train(root.path()).args("--data absent").fail(2);
    assert!(error.contains("data.path: expected images at absent"), "{error}");
    std::fs::create_dir(root.path().join("empty")).unwrap();
    train(root.path()).args("--data empty").fail(2);
    assert!(sample(root.path()).args("absent").fail(2).contains("MODEL: absent"));
}
