//! One rank of a job.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use candle_core::{Device, Tensor};
use ddpm_distributed::{
    Communicator, DistributedError, Launch, Options, PendingSum, abort_on_panic, connect, pairwise_sum,
};

use crate::scenario::{LOST, RANK_TIMEOUT, Scenario};

/// Connects and does what the scenario says.
pub(crate) fn run(scenario: &Scenario) -> ExitCode {
    println!("pid {}", std::process::id());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    let launch = Launch::of_this_process().unwrap();
    let rank = launch.as_ref().map_or(0, |launch| launch.rank);
    if scenario.action == "never-connect" && scenario.victim == rank {
        forever();
    }
    let message_elements = if scenario.action == "pieces" { 500 } else { Options::default().message_elements };
    let options = Options { rank_timeout: RANK_TIMEOUT, message_elements };
    let communicator = match connect(launch.as_ref(), &Device::Cpu, &options) {
        Ok(communicator) => communicator,
        Err(error) => {
            print_error(&error);
            std::process::exit(2);
        }
    };
    assert_eq!(communicator.rank(), rank);
    if scenario.action == "drop" && scenario.victim == rank {
        return ExitCode::SUCCESS;
    }
    if scenario.action != "panic-without-hook" {
        abort_on_panic(communicator.clone(), 101);
    }
    match act(scenario, &communicator).and_then(|()| communicator.finalize()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            communicator.abort(LOST);
        }
    }
}

/// Writes the line at once: the lines of ranks that write pieces are mixed by `mpirun`.
fn print_error(error: &DistributedError) {
    let line = format!("error: {error}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

fn forever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn act(scenario: &Scenario, communicator: &Arc<dyn Communicator>) -> Result<(), DistributedError> {
    match scenario.action.as_str() {
        "collectives" | "pieces" => collectives(communicator.as_ref()),
        "groups" => groups(communicator.as_ref()),
        _ => {
            // The job is in full swing when something happens to the victim.
            for length in [10, 100_000, 3] {
                start_sum(communicator.as_ref(), length)?.finish()?;
            }
            if communicator.rank() == scenario.victim {
                happen(&scenario.action, communicator)?;
            } else if scenario.action == "abort" {
                forever();
            } else if scenario.action == "other-length" {
                start_sum(communicator.as_ref(), 100)?.finish()?;
            }
            // The others meet it again in sums, first large ones, one of which is still in progress.
            let pending = start_sum(communicator.as_ref(), 1_000_000)?;
            start_sum(communicator.as_ref(), 1000)?.finish()?;
            pending.finish()?;
            communicator.barrier()
        }
    }
}

/// What happens to the victim.
fn happen(action: &str, communicator: &Arc<dyn Communicator>) -> Result<(), DistributedError> {
    let rank = communicator.rank();
    let signal = |name: &str| {
        Command::new("kill").args([name, &std::process::id().to_string()]).status().unwrap();
        // The signal ends or stops this process now or very soon.
        std::thread::sleep(Duration::from_millis(200));
    };
    match action {
        "kill" => signal("-KILL"),
        "stop" => signal("-STOP"),
        "stop-in-long-work" => {
            let _work = communicator.long_work();
            std::thread::sleep(RANK_TIMEOUT * 3 / 2);
            signal("-STOP");
        }
        "panic" | "panic-without-hook" => panic!("rank {rank} panics"),
        "exit-0" => std::process::exit(0),
        "exit-3" => std::process::exit(3),
        "abort" => {
            // Another thread ends the job while this one waits in a barrier that nobody else reaches.
            let other = communicator.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                other.abort(9);
            });
            communicator.barrier()?;
        }
        "slow" => std::thread::sleep(2 * RANK_TIMEOUT),
        "long-work" => {
            let _work = communicator.long_work();
            std::thread::sleep(RANK_TIMEOUT * 5 / 2);
        }
        "other-operation" => communicator.barrier()?,
        "other-length" => {
            start_sum(communicator.as_ref(), 102)?.finish()?;
        }
        other => panic!("unknown action {other}"),
    }
    Ok(())
}

/// The value of element `i` of vector `v`: numbers of both signs and many magnitudes, whose sum depends on the order.
fn value(v: usize, i: usize) -> f32 {
    let n = v * 7919 + i * 104_729 + 1;
    ((n % 1013) as f32 - 506.0) * 10f32.powi((n % 9) as i32 - 4)
}

fn vector(v: usize, length: usize) -> Vec<f32> {
    (0..length).map(|i| value(v, i)).collect()
}

fn start_sum(communicator: &dyn Communicator, length: usize) -> Result<PendingSum, DistributedError> {
    communicator.start_sum(Tensor::from_vec(vector(communicator.rank(), length), length, &Device::Cpu)?)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn sum_of(vectors: &[Vec<f32>]) -> Vec<f32> {
    pairwise_sum(&vectors.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn collectives(communicator: &dyn Communicator) -> Result<(), DistributedError> {
    let (rank, size) = (communicator.rank(), communicator.size());
    for (other, member) in communicator.members().iter().enumerate() {
        assert_eq!(member.local_rank, other, "all ranks are on one host");
        assert!(!member.host.is_empty());
    }
    // Buckets of all lengths, several of them in progress at once.
    let lengths: Vec<_> = (0..=2 * size + 1).chain([100, 1023, 1024, 1025, 4099, 300_007]).collect();
    let pending: Vec<_> = lengths.iter().map(|length| start_sum(communicator, *length)).collect::<Result<_, _>>()?;
    for (sum, length) in pending.into_iter().zip(lengths) {
        let expected = sum_of(&(0..size).map(|v| vector(v, length)).collect::<Vec<_>>());
        assert_eq!(bits(&sum.finish()?.to_vec1::<f32>()?), bits(&expected), "{length} elements");
    }
    // One rank's NaN and infinity reach all ranks.
    let special = [[1.0, 1.0], [f32::NAN, f32::INFINITY]][usize::from(rank == size - 1)];
    let sum = communicator.start_sum(Tensor::new(&special, &Device::Cpu)?)?.finish()?.to_vec1::<f32>()?;
    assert!(sum[0].is_nan() && sum[1] == f32::INFINITY, "{sum:?}");

    for length in [0, 1, 6, 7, 8, 100_000] {
        let bytes = |rank: usize| (0..length).map(|i| (i * 31 + rank * 7) as u8).collect::<Vec<_>>();
        let own = if rank == 0 { bytes(0) } else { Vec::new() };
        assert_eq!(communicator.broadcast(own)?, bytes(0));
        // Longer and longer from rank to rank.
        let of = |rank: usize| bytes(rank)[..length * (rank + 1) / size].to_vec();
        let gathered = communicator.gather(of(rank))?;
        assert_eq!(gathered, (rank == 0).then(|| (0..size).map(of).collect()));
        communicator.barrier()?;
    }
    refused_buckets(communicator)
}

/// Buckets that cannot be summed are refused on the rank itself, without a message.
fn refused_buckets(communicator: &dyn Communicator) -> Result<(), DistributedError> {
    if communicator.size() > 1 {
        let square = Tensor::zeros((2, 2), candle_core::DType::F32, &Device::Cpu)?;
        let doubles = Tensor::zeros(2, candle_core::DType::F64, &Device::Cpu)?;
        for bucket in [square, doubles] {
            let error = communicator.start_sum(bucket).expect_err("not a bucket").to_string();
            assert!(error.contains("expected contiguous f32 values of one axis on the CPU, found"), "{error}");
        }
    }
    Ok(())
}

/// Ranks that hold the sums of consecutive vectors get the bits of one rank that sums all vectors.
fn groups(communicator: &dyn Communicator) -> Result<(), DistributedError> {
    let (rank, size) = (communicator.rank(), communicator.size());
    for vectors in [8, 16] {
        let all: Vec<_> = (0..vectors).map(|v| vector(v, 5001)).collect();
        let group = vectors / size;
        let own = sum_of(&all[rank * group..(rank + 1) * group]);
        let sum = communicator.start_sum(Tensor::from_vec(own, 5001, &Device::Cpu)?)?.finish()?;
        assert_eq!(bits(&sum.to_vec1::<f32>()?), bits(&sum_of(&all)), "{vectors} vectors");
    }
    Ok(())
}
