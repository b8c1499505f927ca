//! The programs that start the processes of a job.

use std::fmt;

/// The program that starts the processes of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// `mpirun` of Open MPI.
    OpenMpi,
    /// `mpirun` of MPICH or Intel MPI, or another process manager that speaks PMI or PMIx.
    Pmi,
    /// `srun` of Slurm.
    Slurm,
    /// `torchrun` of PyTorch.
    Torchrun,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenMpi => "mpirun (Open MPI)",
            Self::Pmi => "mpirun (PMI)",
            Self::Slurm => "srun",
            Self::Torchrun => "torchrun",
        })
    }
}
