//! Jobs that this build cannot run are refused, each with one line.

use candle_core::Device;
use ddpm_distributed::{Launch, Launcher, Options, connect};

fn launch(launcher: Launcher, size: usize) -> Launch {
    Launch { launcher, rank: 0, size, local_rank: 0, local_size: size }
}

#[test]
fn a_process_without_launcher_is_alone() -> Result<(), ddpm_distributed::DistributedError> {
    let communicator = connect(None, &Device::Cpu, &Options::default())?;
    assert_eq!((communicator.rank(), communicator.size(), communicator.members().len()), (0, 1, 1));
    assert_eq!(communicator.broadcast(vec![1, 2])?, [1, 2]);
    assert_eq!(communicator.gather(vec![3])?, Some(vec![vec![3]]));
    communicator.barrier()?;
    communicator.finalize()
}

#[test]
fn one_process_of_srun_or_torchrun_is_alone() -> Result<(), ddpm_distributed::DistributedError> {
    for launcher in [Launcher::Slurm, Launcher::Torchrun] {
        assert_eq!(connect(Some(&launch(launcher, 1)), &Device::Cpu, &Options::default())?.size(), 1);
    }
    Ok(())
}

fn refusal(launcher: Launcher, size: usize) -> String {
    match connect(Some(&launch(launcher, size)), &Device::Cpu, &Options::default()) {
        Ok(communicator) => panic!("{launcher} with {size} processes: connected as {communicator:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn torchrun_on_cpus_is_refused() {
    let expected = "torchrun starts processes for GPUs only: start the 4 processes with `mpirun -n 4`, or choose GPUs";
    assert_eq!(refusal(Launcher::Torchrun, 4), expected);
}

#[cfg(not(feature = "mpi"))]
#[test]
fn a_missing_feature_is_named() {
    let expected = "mpirun (Open MPI) started 2 processes, but this program was built without MPI: build it with \
                    `--features mpi`";
    assert_eq!(refusal(Launcher::OpenMpi, 2), expected);
}
