//! What can fail between ranks.

use std::sync::Arc;

use crate::launcher::Launcher;

/// An error of a [`Communicator`](crate::Communicator), or of [`connect`](crate::connect).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DistributedError {
    /// A tensor of a bucket could not be read or made.
    #[error("a bucket of gradients: {0}")]
    Tensor(#[source] Arc<candle_core::Error>),
    /// A bucket is not what this communicator sums.
    #[error("a bucket of gradients: expected {expected}, found {found}")]
    Bucket {
        /// The tensors that the communicator sums.
        expected: &'static str,
        /// The tensor that it was given.
        found: String,
    },
    /// An environment variable of a launcher, or of NCCL's rendezvous, cannot be used.
    #[error("the environment variable {variable}: expected {expected}, found {found}")]
    Variable {
        /// The name of the variable.
        variable: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// The program lacks the code for this kind of job.
    #[error(
        "{launcher} started {size} processes, but this program was built without {library}: build it with \
         `--features {feature}`"
    )]
    FeatureMissing {
        /// Who started the processes.
        launcher: Launcher,
        /// The number of processes.
        size: usize,
        /// The library that the job needs.
        library: &'static str,
        /// The feature that adds it.
        feature: &'static str,
    },
    /// `torchrun` started processes that compute on CPUs, where sums go through MPI.
    #[error(
        "torchrun starts processes for GPUs only: start the {size} processes with `mpirun -n {size}`, or choose GPUs"
    )]
    TorchrunOnCpu {
        /// The number of processes.
        size: usize,
    },
    /// The launcher and the MPI library of this program do not know each other.
    #[error(
        "{launcher} started {expected} processes, but the MPI library of this program sees {found}: two MPI \
         installations are mixed. The program was built with {library}; start it with the mpirun of that library, or \
         build it with the launcher's compiler (MPICC=mpicc.openmpi or MPICC=mpicc.mpich)"
    )]
    LibraryMismatch {
        /// Who started the processes.
        launcher: Launcher,
        /// The number of processes that the launcher reports.
        expected: usize,
        /// The number of processes that the library reports.
        found: usize,
        /// The name and version of the MPI library.
        library: String,
    },
    /// The library between the ranks does not return, or cannot be used.
    #[error("{library}: {reason}")]
    Library {
        /// The library.
        library: &'static str,
        /// What happened.
        reason: String,
    },
    /// Ranks have ended, are stopped, or are too slow.
    #[error("no answer for {seconds:.0} s from {}: waited for {operation}", ranks(missing))]
    RankTimeout {
        /// What was waited for.
        operation: String,
        /// The ranks waited for and their hosts.
        missing: Vec<(usize, String)>,
        /// The time without a sign of life.
        seconds: f64,
    },
    /// Two ranks do different things, or have buckets or messages of different lengths.
    #[error("rank {rank} on {host} is out of step: expected {expected}, found {found}")]
    OutOfStep {
        /// The other rank.
        rank: usize,
        /// Its host.
        host: String,
        /// What this rank waited for.
        expected: String,
        /// What the other rank sent.
        found: String,
    },
    /// The communicator was finalized, or its thread has ended.
    #[error("the communicator was finalized, or its thread has ended: {operation} is not possible")]
    Ended {
        /// What was asked for.
        operation: &'static str,
    },
}

#[cfg(any(feature = "mpi", feature = "nccl", test))]
impl DistributedError {
    /// An error of `library`.
    pub(crate) fn library(library: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Library { library, reason: reason.to_string() }
    }
}

impl From<candle_core::Error> for DistributedError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(Arc::new(error))
    }
}

/// "rank 1 on host-a and rank 3 on host-b".
fn ranks(missing: &[(usize, String)]) -> String {
    let names: Vec<_> = missing.iter().map(|(rank, host)| format!("rank {rank} on {host}")).collect();
    match names.split_last() {
        None => "any other rank".into(),
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_names_ranks_and_hosts_on_one_line() {
        let missing = vec![(1, "a".to_string()), (2, "b".to_string()), (5, "b".to_string())];
        let error = DistributedError::RankTimeout { operation: "a barrier".into(), missing, seconds: 600.2 };
        let expected = "no answer for 600 s from rank 1 on a, rank 2 on b and rank 5 on b: waited for a barrier";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn every_message_is_one_line() {
        let launcher = Launcher::OpenMpi;
        for error in [
            DistributedError::FeatureMissing { launcher, size: 4, library: "MPI", feature: "mpi" },
            DistributedError::TorchrunOnCpu { size: 2 },
            DistributedError::LibraryMismatch { launcher, expected: 4, found: 1, library: "MPICH 4.0.2".into() },
        ] {
            let message = error.to_string();
            assert!(!message.contains('\n') && !message.contains("  "), "{message}");
        }
    }
}
