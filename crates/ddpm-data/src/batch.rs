//! A batch of training images, and how it is prepared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};
use ddpm_rng::{Purpose, Stream};
use tracing::warn;

use crate::batch_share::BatchShare;
use crate::conversion::Conversion;
use crate::decode_request::{DecodeRequest, PixelBudget};
use crate::error::DataError;
use crate::image::Image;
use crate::image_cache::ImageCache;
use crate::image_source::ImageSource;
use crate::labeling::ClassBalance;
use crate::loader_config::LoaderConfig;
use crate::pixels::pixel_to_value;
use crate::sample_order::SampleOrder;

/// A batch of training images.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The images: f32 \[batch, channel, height, width\] in \[−1, 1\], on the CPU.
    pub images: Tensor,
    /// The class of each image, as an index into [`Labels::classes`](crate::Labels::classes). `None` if the set has no
    /// classes.
    pub labels: Option<Vec<u32>>,
    /// The number of complete epochs before the epoch of this batch.
    pub epoch: u64,
    /// The number of batches before this one, over all epochs.
    pub index: u64,
}

/// Prepares batches of a set of images. It is shared by the threads of a loader.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    source: Arc<dyn ImageSource>,
    config: LoaderConfig,
    /// The images that were found to be undecodable, each with its problem.
    undecodable: Mutex<BTreeMap<usize, String>>,
    budget: PixelBudget,
    cache: Option<Arc<ImageCache>>,
}

/// The largest number of undecodable images that an error lists.
const MAX_LISTED_IMAGES: usize = 5;

/// The number of images that are tried for one position of a batch.
const MAX_TRIES: usize = 100;

/// The position of a crop that is not random.
const CENTER: (f64, f64) = (0.5, 0.5);

/// Opens the cache of a set. Without it, images are decoded in every epoch.
fn open_cache(source: &dyn ImageSource, config: &LoaderConfig) -> Option<Arc<ImageCache>> {
    let LoaderConfig { conversion, random_crop, cache, .. } = config;
    let (cache, set) = (cache.as_ref()?, source.cache_key()?);
    let key = format!("{set} {conversion:?} random_crop {random_crop}");
    match ImageCache::open(&cache.directory, &key, cache.max_bytes) {
        Ok(opened) => Some(Arc::new(opened)),
        Err(error) => {
            warn!("{error}; images are decoded in every epoch");
            None
        }
    }
}

impl BatchBuilder {
    pub(crate) fn new(source: Arc<dyn ImageSource>, config: LoaderConfig) -> Self {
        let budget = PixelBudget::new(config.max_image_pixels);
        let cache = open_cache(source.as_ref(), &config);
        Self { source, config, undecodable: Mutex::new(BTreeMap::new()), budget, cache }
    }

    /// The order in which batches visit the images.
    pub(crate) fn sample_order(&self) -> SampleOrder {
        let order = SampleOrder::new(self.config.seed, self.source.len(), self.config.batch_size);
        match (self.config.class_balance, self.source.labels()) {
            (ClassBalance::Uniform, Some(labels)) => order.balanced(labels),
            _ => order,
        }
    }

    /// The batches to prepare.
    pub(crate) fn share(&self) -> BatchShare {
        self.config.share
    }

    /// The number of undecodable images found so far.
    pub(crate) fn undecodable_count(&self) -> usize {
        self.undecodable.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Prepares batch number `index`.
    pub(crate) fn build(&self, order: &mut SampleOrder, index: u64) -> Result<Batch, DataError> {
        let Conversion { channels, height, width, .. } = self.config.conversion;
        let batch_size = self.config.batch_size;
        let epoch = order.epoch_of(index);
        let mut values = Vec::with_capacity(batch_size * channels * height * width);
        let mut labels = self.source.labels().map(|_| Vec::with_capacity(batch_size));
        for (i, image) in order.batch(index).iter().enumerate() {
            let sample = index * batch_size as u64 + i as u64;
            let (position, flip) = self.augmentation(sample);
            let (index, image) = self.decoded(*image, sample, position)?;
            if let (Some(labels), Some(all)) = (&mut labels, self.source.labels()) {
                labels.push(all.label(index));
            }
            let image = if flip { image.flipped_horizontally() } else { image };
            // [height, width, channel] to [channel, height, width].
            for channel in 0..channels {
                values.extend(image.samples.iter().skip(channel).step_by(channels).map(|p| pixel_to_value(*p)));
            }
        }
        let images = Tensor::from_vec(values, (batch_size, channels, height, width), &Device::Cpu)?;
        Ok(Batch { images, labels, epoch, index })
    }

    /// Decodes and converts image `image`. If it is undecodable, another image replaces it, which is a function of the
    /// set, the seed and the number of the sample alone. The index is that of the image that was decoded.
    fn decoded(&self, image: usize, sample: u64, position: (f64, f64)) -> Result<(usize, Image), DataError> {
        let mut replacements = Stream::new(self.config.seed, Purpose::Replacement, sample);
        let mut image = image;
        for _ in 0..MAX_TRIES {
            match self.converted(image, position) {
                Ok(decoded) => return Ok((image, decoded)),
                Err(error) => self.record_undecodable(image, &error)?,
            }
            image = replacements.below(self.source.len() as u64) as usize;
        }
        Err(DataError::NoReplacement { tries: MAX_TRIES, names: self.listed_undecodable().1 })
    }

    /// Records an undecodable image, and warns of it the first time. Fails when there are more than allowed.
    fn record_undecodable(&self, image: usize, error: &DataError) -> Result<(), DataError> {
        let mut undecodable = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner);
        if undecodable.insert(image, error.to_string()).is_none() {
            warn!("{error}; it is replaced by another image");
        }
        let share = self.config.max_bad_share;
        // A small set may have one such image; with a share of zero, no set may.
        let allowed = (share * self.source.len() as f64).max(if share > 0.0 { 1.0 } else { 0.0 });
        let count = undecodable.len();
        drop(undecodable);
        if count as f64 > allowed { Err(self.too_many_undecodable()) } else { Ok(()) }
    }

    fn too_many_undecodable(&self) -> DataError {
        let (undecodable, names) = self.listed_undecodable();
        DataError::TooManyUndecodable {
            undecodable,
            total: self.source.len(),
            allowed_share: self.config.max_bad_share,
            names,
        }
    }

    /// The number of undecodable images so far, and the first of them with their problems.
    fn listed_undecodable(&self) -> (usize, Vec<String>) {
        let undecodable = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner);
        (undecodable.len(), undecodable.values().take(MAX_LISTED_IMAGES).cloned().collect())
    }

    /// Image `index`, from the cache or decoded, and converted. Without random crops the cache holds converted images.
    /// With them it holds images as small as they can be decoded.
    fn converted(&self, index: usize, position: (f64, f64)) -> Result<Image, DataError> {
        let conversion = &self.config.conversion;
        if let Some(image) = self.cache.as_ref().and_then(|cache| cache.get(index)) {
            return Ok(conversion.apply(&image, position));
        }
        // It holds its part of the budget until the decoded image is converted.
        let mut request = DecodeRequest::at_least(conversion.sufficient_side(), &self.budget);
        let decoded = self.source.decode_as(index, &mut request)?;
        let pixels = decoded.width * decoded.height;
        let image = if self.config.random_crop { decoded } else { conversion.apply(&decoded, CENTER) };
        // Smaller images are decoded about as fast as they are read from the cache.
        if let Some(cache) = self.cache.as_ref().filter(|_| pixels >= 4 * conversion.width * conversion.height) {
            cache.put(index, &image);
        }
        Ok(conversion.apply(&image, position))
    }

    /// The cache of resized images, if there is one.
    pub(crate) fn cache(&self) -> Option<Arc<ImageCache>> {
        self.cache.clone()
    }

    /// The position of the crop of a sample, and whether it is flipped.
    fn augmentation(&self, sample: u64) -> ((f64, f64), bool) {
        let mut stream = Stream::new(self.config.seed, Purpose::Augmentation, sample);
        // All numbers are always drawn, so that switching one augmentation off does not change the other.
        let (position, flip) = ((stream.uniform(), stream.uniform()), stream.bernoulli(0.5));
        let position = if self.config.random_crop { position } else { CENTER };
        (position, flip && self.config.horizontal_flip)
    }
}
