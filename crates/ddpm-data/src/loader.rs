//! Batches, prepared on threads of their own.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use candle_core::{Device, Tensor};
use ddpm_rng::{Purpose, Stream};
use tracing::warn;

use crate::sample_order::SampleOrder;
use crate::{Conversion, DataConfig, DataError, Fit, Image, ImageSource, pixel_to_value};

/// What batches are made of.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// Images of a batch, from 1.
    pub batch_size: usize,
    /// Names the order, the augmentation and the replacements.
    pub seed: u64,
    /// What every image is converted to.
    pub conversion: Conversion,
    /// Whether [`Fit::Crop`] takes a random place.
    pub random_crop: bool,
    /// Whether half the images are mirrored.
    pub horizontal_flip: bool,
    /// The share of the set that may turn out undecodable.
    pub max_bad_share: f64,
    /// Threads, from 1.
    pub workers: usize,
}

impl LoaderConfig {
    /// Batches of that size for a network of `channels` and [height, width], as the configuration says.
    pub fn new(data: &DataConfig, batch_size: usize, seed: u64, channels: usize, [height, width]: [usize; 2]) -> Self {
        Self {
            batch_size,
            seed,
            conversion: Conversion { channels, height, width, fit: data.fit },
            random_crop: data.random_crop && data.fit == Fit::Crop,
            horizontal_flip: data.horizontal_flip,
            max_bad_share: data.max_bad_share,
            workers: data.workers,
        }
    }
}

/// One batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// f32 [batch, channel, height, width] in [−1, 1], on the CPU.
    pub images: Tensor,
    /// Passes over the set before this one's.
    pub epoch: u64,
    /// Batches before this one, over all epochs.
    pub index: u64,
}

/// An endless iterator of batches. The batch at position k depends on the seed and k alone, not on where the loader began
/// or how many threads it has. Dropping it ends its threads.
#[derive(Debug)]
pub struct Loader {
    /// Worker w prepares the batches whose distance from the first is w modulo their number.
    workers: Vec<Receiver<Result<Batch, DataError>>>,
    shared: Arc<Shared>,
    next: usize,
    failed: bool,
}

/// Batches that each worker keeps ready.
const READY: usize = 2;
/// How long a batch is waited for before asking whether it is still wanted.
const PATIENCE: Duration = Duration::from_millis(100);

impl Loader {
    /// Begins with the batch at position `start_batch`.
    ///
    /// # Errors
    /// When the set is smaller than a batch, the network's channels are none that an image can have, or a thread cannot
    /// be started.
    pub fn new(source: Arc<dyn ImageSource>, config: LoaderConfig, start_batch: u64) -> Result<Self, DataError> {
        let channels = config.conversion.channels;
        if ![1, 3, 4].contains(&channels) {
            let problem = format!("model.channels: images have 1, 3 or 4, found {channels}");
            return Err(DataError::damaged("the configuration", problem));
        }
        if config.batch_size == 0 || source.len() < config.batch_size {
            return Err(DataError::SmallerThanBatch { images: source.len(), batch_size: config.batch_size });
        }
        let shared = Arc::new(Shared { source, config, bad: Mutex::new(BTreeMap::new()) });
        let start = |worker: usize| {
            let (sender, receiver) = sync_channel(READY);
            let shared = Arc::clone(&shared);
            let first = start_batch + worker as u64;
            let thread = std::thread::Builder::new().name(format!("loader-{worker}"));
            let started = thread.spawn(move || shared.work(first, &sender));
            started.map(|_| receiver).map_err(DataError::io(std::path::Path::new("a loading thread")))
        };
        let workers = (0..shared.config.workers.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Self { workers, shared, next: 0, failed: false })
    }

    /// Images that turned out undecodable so far, each of which was named in a warning.
    pub fn undecodable(&self) -> usize {
        self.shared.bad.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The next batch; None after a failure, and where `give_up` says yes while it is waited for: it is asked ten times a
    /// second.
    pub fn next_unless(&mut self, give_up: &dyn Fn() -> bool) -> Option<Result<Batch, DataError>> {
        if self.failed {
            return None;
        }
        let batch = loop {
            match self.workers[self.next].recv_timeout(PATIENCE) {
                Ok(batch) => break batch,
                Err(RecvTimeoutError::Disconnected) => break Err(DataError::Thread),
                Err(RecvTimeoutError::Timeout) if give_up() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.next = (self.next + 1) % self.workers.len();
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

/// What the workers have in common.
#[derive(Debug)]
struct Shared {
    source: Arc<dyn ImageSource>,
    config: LoaderConfig,
    /// Images found undecodable, each with its problem.
    bad: Mutex<BTreeMap<usize, String>>,
}

/// Names that an error lists at most.
const LISTED: usize = 5;
/// Stand-ins that are tried for one image.
const TRIES: usize = 100;

impl Shared {
    /// Prepares every n-th batch until nobody wants another.
    fn work(&self, first: u64, sender: &SyncSender<Result<Batch, DataError>>) {
        let Self { config, .. } = self;
        let mut order = SampleOrder::new(config.seed, self.source.len(), config.batch_size);
        let mut index = first;
        loop {
            // A panic here is a bug of ours; the training must not wait for a thread that is gone.
            let batch = catch_unwind(AssertUnwindSafe(|| self.batch(&mut order, index)));
            let batch = batch.unwrap_or(Err(DataError::Thread));
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
            index += config.workers.max(1) as u64;
        }
    }

    fn batch(&self, order: &mut SampleOrder, index: u64) -> Result<Batch, DataError> {
        let Conversion { channels, height, width, .. } = self.config.conversion;
        let batch_size = self.config.batch_size;
        let epoch = order.epoch_of(index);
        let mut values = Vec::with_capacity(batch_size * channels * height * width);
        for (i, image) in order.batch(index).iter().enumerate() {
            let sample = index * batch_size as u64 + i as u64;
            let image = self.augmented(&self.decoded(*image, sample)?, sample);
            // [height, width, channel] to [channel, height, width].
            for channel in 0..channels {
                values.extend(image.samples.iter().skip(channel).step_by(channels).map(|p| pixel_to_value(*p)));
            }
        }
        let images = Tensor::from_vec(values, (batch_size, channels, height, width), &Device::Cpu)?;
        Ok(Batch { images, epoch, index })
    }

    /// Image `image`, or where it cannot be decoded another, a function of (seed, position of the sample) and of the set.
    fn decoded(&self, image: usize, sample: u64) -> Result<Image, DataError> {
        let mut stand_ins = Stream::new(self.config.seed, Purpose::Replacement, sample);
        let mut image = image;
        for _ in 0..TRIES {
            match self.source.decode(image) {
                Ok(image) => return Ok(image),
                Err(error) => self.note_bad(image, &error)?,
            }
            image = stand_ins.below(self.source.len() as u64) as usize;
        }
        Err(DataError::NoStandIn { tries: TRIES, names: self.some_bad().1 })
    }

    /// Counts and names a bad image, once.
    fn note_bad(&self, image: usize, error: &DataError) -> Result<(), DataError> {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.insert(image, error.to_string()).is_none() {
            warn!("{error}; another image takes its place");
        }
        let allowed = (self.config.max_bad_share * self.source.len() as f64).max(1.0);
        let count = bad.len();
        drop(bad);
        if count as f64 > allowed { Err(self.too_many_bad()) } else { Ok(()) }
    }

    fn too_many_bad(&self) -> DataError {
        let (bad, names) = self.some_bad();
        DataError::TooManyBad { bad, total: self.source.len(), names }
    }

    /// How many images were found undecodable so far, and the first of them.
    fn some_bad(&self) -> (usize, Vec<String>) {
        let bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        (bad.len(), bad.values().take(LISTED).cloned().collect())
    }

    fn augmented(&self, image: &Image, sample: u64) -> Image {
        let mut stream = Stream::new(self.config.seed, Purpose::Augmentation, sample);
        // Both are always drawn: switching one off does not change the other.
        let (place, flip) = ((stream.uniform(), stream.uniform()), stream.bernoulli(0.5));
        let place = if self.config.random_crop { place } else { (0.5, 0.5) };
        let converted = self.config.conversion.apply(image, place);
        if flip && self.config.horizontal_flip { converted.mirrored() } else { converted }
    }
}
