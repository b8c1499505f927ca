//! Launchers of several processes, for programs that are built without a library between processes: they refuse before
//! they write anything, and a single process needs none. `tests/distributed.py` tests programs with MPI.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use ddpm_tests::{Program, sample, train};

const SMALL: &str = "--set model.base_channels=8 --set model.attention_heads=1 --set model.attention_head_channels=8 \
                     --batch-size 8 --set sample.preview_images=0 --steps 2 --device cpu --out a";

fn under(program: Program, variables: &[(&str, &str)]) -> Program {
    variables.iter().fold(program, |program, (name, value)| program.env(name, value))
}

const OPEN_MPI: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_RANK", "1"),
    ("OMPI_COMM_WORLD_SIZE", "2"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
];
const TORCHRUN: [(&str, &str); 6] = [
    ("RANK", "1"),
    ("WORLD_SIZE", "2"),
    ("LOCAL_RANK", "1"),
    ("LOCAL_WORLD_SIZE", "2"),
    ("MASTER_ADDR", "localhost"),
    ("MASTER_PORT", "29500"),
];

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn several_processes_are_refused_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    for program in [train(root.path()).args(SMALL), sample(root.path()).args("model -n 4")] {
        let message = under(program, &OPEN_MPI).fail(2);
        assert!(message.contains("mpirun (Open MPI) started 2 processes"), "{message}");
        assert!(message.contains("--features mpi"), "{message}");
    }
    let message = under(train(root.path()).args(SMALL), &TORCHRUN).fail(2);
    assert!(message.contains("torchrun starts processes for GPUs only"), "{message}");
    let malformed = [("OMPI_COMM_WORLD_RANK", "one"), OPEN_MPI[1], OPEN_MPI[2], OPEN_MPI[3]];
    let message = under(train(root.path()).args(SMALL), &malformed).fail(2);
    assert!(message.contains("OMPI_COMM_WORLD_RANK"), "{message}");
    assert!(is_empty(root.path()));
}

#[test]
fn a_single_process_of_a_launcher_trains_alone() {
    let root = tempfile::tempdir().unwrap();
    let one = [
        ("OMPI_COMM_WORLD_RANK", "0"),
        ("OMPI_COMM_WORLD_SIZE", "1"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", "0"),
        ("OMPI_COMM_WORLD_LOCAL_SIZE", "1"),
    ];
    under(train(root.path()).args(SMALL), &one).succeed();
    assert!(root.path().join("a/checkpoints/step-000002").is_dir());
}
