//! The crates depend on each other as the table of `docs/architecture.md` allows, and `unsafe` code stays in
//! `ddpm-ops`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

const PROGRAMS: [&str; 2] = ["ddpm-train", "ddpm-sample"];

fn workspace() -> Vec<Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    metadata.packages.into_iter().filter(|package| package.name.as_str() != "ddpm-tests").collect()
}

/// The table of the document: for each crate, the crates of the workspace that it may depend on.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture.md")).unwrap();
    let (_, table) = text.split_once("| crate | may depend on |").expect("the table of docs/architecture.md");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, uses] = cells[..] else { panic!("a row of two cells, found {row}") };
        let uses = uses.split(", ").filter(|uses| *uses != "nothing").map(str::to_owned);
        (name.to_owned(), uses.collect())
    })
    .collect()
}

#[test]
fn every_dependency_is_in_the_table() {
    let (allowed, packages) = (allowed(), workspace());
    let libraries: BTreeSet<&str> =
        packages.iter().map(|package| package.name.as_str()).filter(|name| !PROGRAMS.contains(name)).collect();
    assert_eq!(allowed.keys().map(String::as_str).collect::<BTreeSet<_>>(), libraries, "the rows of the table");
    for package in &packages {
        let of_package = allowed.get(package.name.as_str());
        for dependency in package.dependencies.iter().filter(|dependency| dependency.path.is_some()) {
            let name = dependency.name.as_str();
            let is_test_support = name == "ddpm-testkit";
            let permitted = match of_package {
                // The programs may use every library.
                None => !is_test_support,
                Some(uses) => uses.contains(name),
            };
            // A crate that depends on itself enables one of its features for tests.
            let for_tests = dependency.kind == DependencyKind::Development
                && (is_test_support || dependency.name == package.name.as_str());
            assert!(permitted || for_tests, "{} depends on {name}, which the table does not allow", package.name);
        }
    }
}

#[test]
fn the_schedule_crate_stands_alone() {
    let packages = workspace();
    let schedule = packages.iter().find(|package| package.name.as_str() == "ddpm-schedule").unwrap();
    let normal: Vec<_> = schedule.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).collect();
    assert!(normal.iter().all(|dependency| dependency.optional && dependency.name == "serde"), "{normal:?}");
}

/// Every crate but two takes the lints of the workspace, which forbid `unsafe` code. `source_style.rs` compares the
/// files of these two that contain it with the list in CONTRIBUTING.md.
#[test]
fn only_two_crates_may_contain_unsafe_code() {
    let may = ["ddpm-ops", "ddpm-distributed"];
    for package in workspace().iter().filter(|package| !may.contains(&package.name.as_str())) {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{}: expected the workspace's lints", package.name);
    }
}
