//! Damaged files of `torch.save` end with tensors or an error. `DDPM_FUZZ_SECONDS` sets the time for each reader.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::path::Path;

use ddpm_features::read_pth;
use ddpm_testkit::fuzz;

fn fuzz_file(reader: &str, names: &[&str]) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/features");
    let seeds: Vec<Vec<u8>> = names.iter().map(|name| fs::read(golden.join(name)).unwrap()).collect();
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("weights.pth");
    fuzz(reader, &seeds, |input| {
        fs::write(&path, input).unwrap();
        if let Err(error) = read_pth(&path) {
            let text = error.to_string();
            assert!(text.contains("weights.pth") && !text.contains('\n'), "{text}");
        }
    });
}

#[test]
fn fuzz_legacy_files() {
    fuzz_file("legacy pth", &["legacy.pth", "legacy_checkpoint.pth"]);
}

#[test]
fn fuzz_zip_files() {
    fuzz_file("zip pth", &["zip.pth", "zip_checkpoint.pth"]);
}
