//! The time that the sum of a bucket takes, and the processor time that waiting takes.
//!
//! `mpirun -n 2 target/debug/examples/sum_time`

#![allow(clippy::print_stdout, reason = "this is a program")]

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};
use ddpm_distributed::{DistributedError, Launch, Options, connect};

fn main() -> Result<(), DistributedError> {
    let launch = Launch::of_this_process()?;
    let communicator = connect(launch.as_ref(), &Device::Cpu, &Options::default())?;
    let report = |line: String| {
        if communicator.rank() == 0 {
            println!("{line}");
        }
    };
    report(format!("{} ranks", communicator.size()));
    for kib in [4, 64, 1024, 4096, 25 * 1024] {
        let bucket = Tensor::zeros(kib * 256, DType::F32, &Device::Cpu)?;
        let mut times = Vec::new();
        for _ in 0..20 {
            communicator.barrier()?;
            let start = Instant::now();
            communicator.start_sum(bucket.clone())?.finish()?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        report(format!("{kib} KiB: median {:?}, longest {:?}", times[10], times[19]));
    }
    // The others wait for rank 0, and rank 0 does nothing.
    let before = processor_time();
    if communicator.rank() == 0 {
        std::thread::sleep(Duration::from_secs(2));
    }
    communicator.barrier()?;
    let spent = processor_time().saturating_sub(before).as_millis().to_string();
    if let Some(spent) = communicator.gather(spent.into_bytes())? {
        let spent: Vec<_> = spent.iter().map(|text| String::from_utf8_lossy(text)).collect();
        println!("processor time during a wait of 2 s: {} ms", spent.join(", "));
    }
    communicator.finalize()
}

/// User and system time of all threads of this process so far, in steps of 10 ms.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}
