//! Reads every image of a set once per epoch, as a training does, and prints the duration of each epoch.
//!
//! ```text
//! cargo run -p ddpm-data --example read_images -- PATH SIZE WORKERS EPOCHS [CACHE_DIRECTORY]
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use ddpm_data::{CacheConfig, DataConfig, Loader, LoaderConfig, open};

const USAGE: &str = "usage: read_images PATH SIZE WORKERS EPOCHS [CACHE_DIRECTORY]";

#[allow(clippy::print_stdout, reason = "this is a program")]
fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, size, workers, epochs, cache @ ..] = &args[..] else { return Err(USAGE.into()) };
    let (size, workers, epochs): (usize, usize, u64) = (size.parse()?, workers.parse()?, epochs.parse()?);
    let data: DataConfig = serde_json::from_value(serde_json::json!({ "path": path, "workers": workers }))?;
    let source = open(&data)?;
    let batch_size = 20.min(source.len());
    let batches = source.len() / batch_size;
    let mut config = LoaderConfig::new(&data, batch_size, 0, 3, [size, size]);
    config.cache =
        cache.first().map(|directory| CacheConfig { directory: PathBuf::from(directory), max_bytes: 10_000_000_000 });
    let mut loader = Loader::new(source, config, 0)?;
    for epoch in 1..=epochs {
        let start = Instant::now();
        for _ in 0..batches {
            loader.next().ok_or("the loader never ends")??;
        }
        println!("epoch {epoch}: {:.3} s for {} images", start.elapsed().as_secs_f64(), batches * batch_size);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        println!("peak memory: {}", peak.trim());
    }
    Ok(())
}
