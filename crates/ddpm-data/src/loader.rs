//! An endless iterator of batches, which are prepared by threads of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::batch::{Batch, BatchBuilder};
use crate::error::DataError;
use crate::image_cache::ImageCache;
use crate::image_source::ImageSource;
use crate::loader_config::LoaderConfig;

/// An endless iterator of batches.
///
/// Batch number k is a function of the set, the seed and k alone. It depends neither on the first batch of the loader
/// nor on the number of its threads, so a run can resume at any batch. Dropping the loader ends its threads.
///
/// # Examples
/// ```
/// use ddpm_data::{DataConfig, Loader, LoaderConfig, open};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config: DataConfig = serde_json::from_str(r#"{ "path": "digits" }"#)?;
/// let mut loader = Loader::new(open(&config)?, LoaderConfig::new(&config, 16, 0, 1, [8, 8]), 0)?;
/// let batch = loader.next().expect("the iterator is endless")?;
/// assert_eq!(batch.images.dims(), [16, 1, 8, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Loader {
    /// Worker w of n prepares every n-th batch, starting with the w-th.
    workers: Vec<Receiver<Result<Batch, DataError>>>,
    builder: Arc<BatchBuilder>,
    next_worker: usize,
    failed: bool,
}

/// The number of batches that each worker keeps ready.
const READY_BATCHES: usize = 2;

/// How long the loader waits for a batch before it calls the `canceled` function again.
const CANCELLATION_INTERVAL: Duration = Duration::from_millis(100);

impl Loader {
    /// Starts the threads of a loader whose first batch is batch number `start_batch`, or with
    /// [`LoaderConfig::share`] the first one of its share from there on: `start_batch` begins a step.
    ///
    /// # Errors
    /// [`DataError`] when the set is smaller than a batch, the number of channels is not 1, 3 or 4, or a thread cannot
    /// be started.
    pub fn new(source: Arc<dyn ImageSource>, config: LoaderConfig, start_batch: u64) -> Result<Self, DataError> {
        let channels = config.conversion.channels;
        if ![1, 3, 4].contains(&channels) {
            let problem = format!("model.channels: expected 1, 3 or 4 for images, found {channels}");
            return Err(DataError::invalid("the configuration", problem));
        }
        if config.batch_size == 0 || source.len() < config.batch_size {
            return Err(DataError::SmallerThanBatch { images: source.len(), batch_size: config.batch_size });
        }
        let workers = config.workers.max(1);
        let builder = Arc::new(BatchBuilder::new(source, config));
        let start = |worker: usize| {
            let (sender, receiver) = sync_channel(READY_BATCHES);
            let builder = Arc::clone(&builder);
            let thread = std::thread::Builder::new().name(format!("loader-{worker}"));
            let started =
                thread.spawn(move || prepare_batches(&builder, start_batch, worker as u64, workers as u64, &sender));
            started.map(|_| receiver).map_err(DataError::io(Path::new("a loading thread")))
        };
        let workers = (0..workers).map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, builder, next_worker: 0, failed: false })
    }

    /// The number of undecodable images found so far. A warning has named each of them.
    pub fn undecodable(&self) -> usize {
        self.builder.undecodable_count()
    }

    /// The cache of resized images. `None` if none are kept.
    pub fn cache(&self) -> Option<Arc<ImageCache>> {
        self.builder.cache()
    }

    /// The next batch. `None` after a failure, and when `canceled` returns true while the batch is not ready: it is
    /// called ten times a second.
    pub fn next_unless(&mut self, canceled: &dyn Fn() -> bool) -> Option<Result<Batch, DataError>> {
        if self.failed {
            return None;
        }
        let batch = loop {
            match self.workers[self.next_worker].recv_timeout(CANCELLATION_INTERVAL) {
                Ok(batch) => break batch,
                Err(RecvTimeoutError::Disconnected) => break Err(DataError::Thread),
                Err(RecvTimeoutError::Timeout) if canceled() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.next_worker = (self.next_worker + 1) % self.workers.len();
        self.failed = batch.is_err();
        Some(batch)
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_unless(&|| false)
    }
}

/// Prepares batches `first`, `first + step`, … of the loader's share until one fails or the loader is dropped. The
/// first step of the loader begins with batch `start`.
fn prepare_batches(
    builder: &BatchBuilder,
    start: u64,
    first: u64,
    step: u64,
    sender: &SyncSender<Result<Batch, DataError>>,
) {
    let mut order = builder.sample_order();
    let mut n = first;
    loop {
        let index = start + builder.share().batch(n);
        // A panic here is a bug of an image source or of this crate. The training must get an error instead of waiting.
        let batch = catch_unwind(AssertUnwindSafe(|| builder.build(&mut order, index)));
        let batch = batch.unwrap_or(Err(DataError::Thread));
        let failed = batch.is_err();
        if sender.send(batch).is_err() || failed {
            return;
        }
        n += step;
    }
}
