//! Launchers are recognized by their environment variables.

use ddpm_distributed::{DistributedError, Launch, Launcher};

/// The launch that `NAME=value` pairs, separated by spaces, describe.
fn launch(variables: &str) -> Result<Option<Launch>, DistributedError> {
    let pairs: Vec<_> = variables.split_whitespace().filter_map(|pair| pair.split_once('=')).collect();
    Launch::from_variables(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()))
}

fn check(variables: &str, launcher: Launcher, [rank, size, local_rank, local_size]: [usize; 4]) {
    let expected = Launch { launcher, rank, size, local_rank, local_size };
    match launch(variables) {
        Ok(found) => assert_eq!(found, Some(expected), "{variables}"),
        Err(error) => panic!("{variables}: {error}"),
    }
}

/// The variables are refused with a message that contains `variable` and `found`.
fn check_refused(variables: &str, variable: &str, found: &str) {
    match launch(variables) {
        Ok(launch) => panic!("{variables}: accepted as {launch:?}"),
        Err(error) => {
            let message = error.to_string();
            let begins = message.starts_with(&format!("the environment variable {variable}: expected "));
            assert!(begins && message.ends_with(&format!("found {found}")), "{variables}: {message}");
        }
    }
}

const OPEN_MPI: &str = "OMPI_COMM_WORLD_RANK=5 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1 \
                        OMPI_COMM_WORLD_LOCAL_SIZE=4";
const PMI: &str = "PMI_RANK=2 PMI_SIZE=3 MPI_LOCALRANKID=0 MPI_LOCALNRANKS=1";
const SLURM: &str = "SLURM_STEP_ID=0 SLURM_PROCID=7 SLURM_NTASKS=8 SLURM_LOCALID=1 SLURM_NODEID=3 \
                     SLURM_STEP_TASKS_PER_NODE=2(x4)";
const TORCHRUN: &str = "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=host-0 MASTER_PORT=29500";

#[test]
fn each_launcher_is_recognized() {
    check(OPEN_MPI, Launcher::OpenMpi, [5, 8, 1, 4]);
    check(PMI, Launcher::Pmi, [2, 3, 0, 1]);
    check("PMIX_RANK=1 PMI_SIZE=2 PMI_LOCAL_RANK=1 PMI_LOCAL_SIZE=2", Launcher::Pmi, [1, 2, 1, 2]);
    check(SLURM, Launcher::Slurm, [7, 8, 1, 2]);
    check(TORCHRUN, Launcher::Torchrun, [3, 4, 1, 2]);
}

#[test]
fn without_a_launcher_there_is_no_launch() {
    for variables in ["", "RANK=1", "PATH=/bin", "SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_LOCALID=0"] {
        assert!(matches!(launch(variables), Ok(None)), "{variables}");
    }
}

#[test]
fn mpirun_inside_of_other_launchers_comes_first() {
    check(&format!("{TORCHRUN} {SLURM} {PMI} {OPEN_MPI}"), Launcher::OpenMpi, [5, 8, 1, 4]);
    check(&format!("{TORCHRUN} {SLURM} {PMI}"), Launcher::Pmi, [2, 3, 0, 1]);
    check(&format!("{TORCHRUN} {SLURM}"), Launcher::Slurm, [7, 8, 1, 2]);
    check(&format!("{SLURM} PMI_RANK=7 PMI_SIZE=8 PMIX_RANK=7"), Launcher::Slurm, [7, 8, 1, 2]);
}

#[test]
fn numbers_of_tasks_per_node_are_those_of_this_node() {
    let on_node = |node: usize, tasks: &str| {
        format!(
            "SLURM_STEP_ID=1 SLURM_PROCID=0 SLURM_NTASKS=9 SLURM_LOCALID=0 SLURM_NODEID={node} \
             SLURM_STEP_TASKS_PER_NODE={tasks}"
        )
    };
    for (node, tasks) in [(0, 3), (1, 2), (2, 2), (3, 2)] {
        check(&on_node(node, "3,2(x3)"), Launcher::Slurm, [0, 9, 0, tasks]);
    }
    for (node, tasks) in [(4, "3,2(x3)"), (0, "3(y2)"), (0, "(x2)"), (0, "2(x)"), (0, ",")] {
        check_refused(&on_node(node, tasks), "SLURM_STEP_TASKS_PER_NODE", &format!("\"{tasks}\""));
    }
    check("SLURM_STEP_ID=1 SLURM_PROCID=1 SLURM_NTASKS=9 SLURM_LOCALID=1", Launcher::Slurm, [1, 9, 1, 9]);
}

#[test]
fn malformed_variables_are_named() {
    let changed = |variables: &str, name: &str, value: Option<&str>| {
        let others: Vec<_> = variables.split_whitespace().filter(|v| !v.starts_with(&format!("{name}="))).collect();
        let value = value.map(|value| format!(" {name}={value}")).unwrap_or_default();
        others.join(" ") + &value
    };
    for (variables, names) in [
        (OPEN_MPI, ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"]),
        (PMI, ["PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"]),
        (SLURM, ["SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NODEID"]),
        (TORCHRUN, ["LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"]),
    ] {
        for name in names {
            for value in ["x", "-1", "1.5", "", "99999999999999999999999"] {
                check_refused(&changed(variables, name, Some(value)), name, &format!("\"{value}\""));
            }
            if name != "SLURM_NODEID" {
                check_refused(&changed(variables, name, None), name, "nothing");
            }
        }
    }
    check_refused(&changed(OPEN_MPI, "OMPI_COMM_WORLD_RANK", Some("8")), "OMPI_COMM_WORLD_RANK", "\"8\"");
    check_refused(&changed(OPEN_MPI, "OMPI_COMM_WORLD_SIZE", Some("0")), "OMPI_COMM_WORLD_SIZE", "\"0\"");
    check_refused(&changed(PMI, "MPI_LOCALNRANKS", Some("4")), "MPI_LOCALNRANKS", "\"4\"");
    check_refused(&changed(PMI, "MPI_LOCALRANKID", Some("1")), "MPI_LOCALRANKID", "\"1\"");
    check_refused(&changed(TORCHRUN, "MASTER_PORT", Some("65536")), "MASTER_PORT", "\"65536\"");
    check_refused(&changed(TORCHRUN, "MASTER_ADDR", None), "MASTER_ADDR", "nothing");
}
