//! The job of one or several processes (ranks) that a program is part of.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use candle_core::Device;
use clap::Args;
use ddpm_distributed::{
    Communicator, DistributedError, Launch, Options, Single, abort_on_panic, connect, threads_of_rank,
};

use crate::device_choice::DeviceChoice;
use crate::exit::{ExitReason, exit_code, report, usage_error};
use crate::logging::Verbosity;
use crate::stdout::ReaderGone;

/// The exit code of a Rust program that panicked.
const EXIT_CODE_OF_A_PANIC: i32 = 101;

/// The options of a program that several processes can share.
#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    /// Seconds after which a process that does not answer ends the whole job
    ///
    /// It concerns jobs of several processes, which mpirun, srun or torchrun start.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub rank_timeout: u64,
}

/// All processes that run the same command, of which this is one.
#[derive(Debug, Clone)]
pub struct Job {
    communicator: Arc<dyn Communicator>,
    local_size: usize,
    /// The device that the ranks communicate on; None for a process alone, which opens its device when it needs it.
    device: Option<Device>,
}

impl Default for Job {
    /// The job of a process that is alone.
    fn default() -> Self {
        Self { communicator: Arc::new(Single::default()), local_size: 1, device: None }
    }
}

impl Job {
    /// Joins the job that a launcher has started this process for; without a launcher, the process is alone.
    ///
    /// # Errors
    /// Wrong usage, if the launcher has started several processes that cannot form a job.
    pub fn join(args: &JobArgs, device: DeviceChoice) -> anyhow::Result<Self> {
        let launch = Launch::of_this_process().map_err(usage_error)?;
        let Some(launch) = launch.filter(|launch| launch.size > 1) else { return Ok(Self::default()) };
        let device = device.of_local_rank(launch.local_rank).open()?;
        let options = Options { rank_timeout: Duration::from_secs(args.rank_timeout), ..Options::default() };
        let communicator = connect(Some(&launch), &device, &options).map_err(|error| match error {
            error @ (DistributedError::RankTimeout { .. } | DistributedError::Library { .. }) => error.into(),
            error => usage_error(error),
        })?;
        abort_on_panic(communicator.clone(), EXIT_CODE_OF_A_PANIC);
        Ok(Self { communicator, local_size: launch.local_size, device: Some(device) })
    }

    /// The ranks of the job.
    pub fn communicator(&self) -> &Arc<dyn Communicator> {
        &self.communicator
    }

    /// Whether there is no other process.
    pub fn is_alone(&self) -> bool {
        self.communicator.size() == 1
    }

    /// Whether this process is the one that writes and logs.
    pub fn is_rank_0(&self) -> bool {
        self.communicator.rank() == 0
    }

    /// Number of threads for [`run_on_threads`](crate::run_on_threads): `threads` if given; otherwise `None`, for all
    /// cores that the process may use, or this rank's share of the cores of its host.
    pub fn threads(&self, threads: Option<usize>) -> Option<usize> {
        if threads.is_some() || self.is_alone() {
            return threads;
        }
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        Some(threads_of_rank(available, num_online_cores(available), self.local_size))
    }

    /// Opens the device that the process computes on: `device`, or in a job of several processes the GPU of this one's
    /// local rank.
    ///
    /// # Errors
    /// Those of [`DeviceChoice::open`].
    pub fn open_device(&self, device: DeviceChoice) -> anyhow::Result<Device> {
        self.device.clone().map_or_else(|| device.open(), Ok)
    }

    /// The messages of this rank: rank 0 logs for all, the others warn.
    pub fn verbosity(&self, verbosity: Verbosity) -> Verbosity {
        let quiet = verbosity.quiet || (!self.is_rank_0() && verbosity.verbose == 0);
        Verbosity { quiet, ..verbosity }
    }

    /// Refuses a job of several processes.
    ///
    /// # Errors
    /// Wrong usage, naming `option`, which one process alone can carry out.
    pub fn require_alone(&self, option: &str) -> anyhow::Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let ranks = self.communicator.size();
        Err(usage_error(format!("{option}: expected one process, found {ranks}; start it without mpirun")))
    }

    /// The ranks of each host in one line, such as `3 processes: ranks 0–1 on node-a, 2 on node-b`. `None` for a
    /// process alone.
    pub fn description(&self) -> Option<String> {
        if self.is_alone() {
            return None;
        }
        let members = self.communicator.members();
        let mut hosts: Vec<(&str, Vec<usize>)> = Vec::new();
        for (rank, member) in members.iter().enumerate() {
            match hosts.iter_mut().find(|(host, _)| *host == member.host) {
                Some((_, ranks)) => ranks.push(rank),
                None => hosts.push((&member.host, vec![rank])),
            }
        }
        let of_host = |(host, ranks): &(&str, Vec<usize>)| format!("{} on {host}", ranges(ranks));
        let hosts: Vec<String> = hosts.iter().map(of_host).collect();
        Some(format!("{} processes: ranks {}", members.len(), hosts.join(", ")))
    }

    /// Ends all processes of the job with this exit code.
    pub(crate) fn abort(&self, exit_code: i32) -> ! {
        self.communicator.abort(exit_code)
    }

    /// Ends the process with the exit code of `result`. If it is an error, the whole job ends.
    pub fn exit(self, result: anyhow::Result<ExitReason>) -> ExitCode {
        if self.is_alone() {
            return exit_code(result);
        }
        let result = match result {
            // Nobody reads what rank 0 prints, as after `| head`: no failure of the job.
            Err(error) if error.is::<ReaderGone>() => Ok(ExitReason::Completed),
            result => result,
        };
        let finalized = result.and_then(|reason| {
            self.communicator.finalize()?;
            Ok(reason)
        });
        let error = match finalized {
            Ok(reason) => return exit_code(Ok(reason)),
            Err(error) => error,
        };
        let rank = self.communicator.rank();
        // An error that another rank causes names that rank itself.
        let of_another = error.chain().any(|cause| cause.is::<DistributedError>());
        let host = self.communicator.members().get(rank).map_or("", |member| member.host.as_str());
        let code = match of_another || rank == 0 {
            true => report(&error),
            false => report(&error.context(format!("rank {rank} on {host}"))),
        };
        let _ = std::io::stderr().flush();
        self.communicator.abort(code.into())
    }
}

/// Number of cores of the host, of which the process may use `available`.
fn num_online_cores(available: usize) -> usize {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let cores = text.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    });
    cores.sum::<Option<usize>>().unwrap_or(available).max(available)
}

/// Ascending numbers in short: `0–3, 6`.
fn ranges(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let show = |&(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}–{last}"),
    };
    ranges.iter().map(show).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_ranks_are_a_range() {
        assert_eq!(ranges(&[0, 1, 2, 3, 6, 8, 9]), "0–3, 6, 8–9");
        assert_eq!(ranges(&[4]), "4");
    }

    #[test]
    fn a_process_alone_takes_all_cores() {
        let job = Job::default();
        assert_eq!((job.threads(None), job.threads(Some(3)), job.description()), (None, Some(3), None));
        job.require_alone("--benchmark").unwrap();
        assert!(num_online_cores(1) >= 1);
    }
}
