//! The crates depend on each other as `docs/architecture.md` says, and on nothing that only one of them may know.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// What each crate may use of the workspace. Change it together with the table in docs/architecture.md.
const MAY_USE: [(&str, &[&str]); 14] = [
    ("ddpm-schedule", &[]),
    ("ddpm-rng", &[]),
    ("ddpm-ops", &[]),
    ("ddpm-unet", &["ddpm-ops", "ddpm-rng"]),
    ("ddpm-diffusion", &["ddpm-schedule", "ddpm-rng"]),
    ("ddpm-data", &["ddpm-rng"]),
    ("ddpm-checkpoint", &["ddpm-schedule"]),
    ("ddpm-diffusers", &["ddpm-checkpoint", "ddpm-unet", "ddpm-diffusion", "ddpm-schedule"]),
    ("ddpm-trainer", &["ddpm-diffusion", "ddpm-checkpoint", "ddpm-ops", "ddpm-rng", "ddpm-schedule"]),
    ("ddpm-hub", &[]),
    ("ddpm-testkit", &[]),
    ("ddpm-cli", &["ddpm-hub", "ddpm-ops"]),
    ("ddpm-train", &APPS),
    ("ddpm-sample", &APPS),
];

const APPS: [&str; 11] = [
    "ddpm-cli",
    "ddpm-hub",
    "ddpm-trainer",
    "ddpm-checkpoint",
    "ddpm-diffusers",
    "ddpm-data",
    "ddpm-diffusion",
    "ddpm-unet",
    "ddpm-ops",
    "ddpm-rng",
    "ddpm-schedule",
];

fn workspace() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    metadata.packages
}

#[test]
fn no_edge_leaves_the_table() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let packages = workspace();
    assert_eq!(packages.len(), MAY_USE.len() + 1, "the crates of the table and ddpm-tests");
    for package in packages.iter().filter(|p| p.name.as_str() != "ddpm-tests") {
        let allowed =
            allowed.get(package.name.as_str()).unwrap_or_else(|| panic!("{} is not in the table", package.name));
        for dependency in package.dependencies.iter().filter(|d| d.name.starts_with("ddpm-")) {
            let testing = dependency.kind == DependencyKind::Development && dependency.name == "ddpm-testkit";
            let name = dependency.name.as_str();
            assert!(testing || allowed.contains(name), "{} depends on {name}: not in the table", package.name);
        }
    }
}

#[test]
fn the_schedule_crate_stands_alone() {
    let packages = workspace();
    let schedule = packages.iter().find(|p| p.name.as_str() == "ddpm-schedule").unwrap();
    let normal: Vec<_> = schedule.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).collect();
    assert!(normal.iter().all(|d| d.optional && d.name == "serde"), "{normal:?}");
}

/// Where `unsafe` is: matrix products, the matrix unit, and for GPUs memory that a kernel fills, kernels and cuDNN.
const HOMES: [&str; 6] = [
    "src/gemm.rs",
    "src/amx/instructions.rs",
    "src/device/cudnn.rs",
    "src/device/kernels/launch.rs",
    "src/device/kernels/emulated.rs",
    "src/device/kernels/on_gpu.rs",
];

/// Sources of every crate but ddpm-ops forbid `unsafe`; ddpm-ops has it in a few files.
#[test]
fn unsafe_code_has_its_home() {
    for package in workspace() {
        let root = package.manifest_path.parent().unwrap();
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        if package.name.as_str() != "ddpm-ops" {
            assert!(manifest.contains("[lints]\nworkspace = true"), "{}: lints are the workspace's", package.name);
            continue;
        }
        let mut folders = vec![root.join("src").into_std_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let home = HOMES.iter().any(|home| path.ends_with(home));
                assert!(home || !text.contains("unsafe {"), "{}", path.display());
            }
        }
    }
}

/// The table of the document and the table of this test are the same.
#[test]
fn the_document_has_the_same_table() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture.md")).unwrap();
    for (name, uses) in MAY_USE.iter().filter(|(name, _)| !["ddpm-train", "ddpm-sample"].contains(name)) {
        let uses = if uses.is_empty() { "nothing".to_string() } else { uses.join(", ") };
        assert!(text.contains(&format!("| {name} | {uses} |")), "docs/architecture.md lacks: | {name} | {uses} |");
    }
}
