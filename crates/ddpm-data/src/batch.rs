//! A batch of training images, and how it is prepared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};
use ddpm_rng::{Purpose, Stream};
use tracing::warn;

use crate::conversion::Conversion;
use crate::error::DataError;
use crate::image::Image;
use crate::image_source::ImageSource;
use crate::loader_config::LoaderConfig;
use crate::pixels::pixel_to_value;
use crate::sample_order::SampleOrder;

/// A batch of training images.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The images: f32 \[batch, channel, height, width\] in \[−1, 1\], on the CPU.
    pub images: Tensor,
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
}

/// The largest number of undecodable images that an error lists.
const MAX_LISTED_IMAGES: usize = 5;

/// The number of images that are tried for one position of a batch.
const MAX_TRIES: usize = 100;

impl BatchBuilder {
    pub(crate) fn new(source: Arc<dyn ImageSource>, config: LoaderConfig) -> Self {
        Self { source, config, undecodable: Mutex::new(BTreeMap::new()) }
    }

    /// The order in which batches visit the images.
    pub(crate) fn sample_order(&self) -> SampleOrder {
        SampleOrder::new(self.config.seed, self.source.len(), self.config.batch_size)
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

    /// Decodes image `image`. If it is undecodable, decodes a replacement, which is a function of the set, the seed and
    /// the number of the sample alone.
    fn decoded(&self, image: usize, sample: u64) -> Result<Image, DataError> {
        let mut replacements = Stream::new(self.config.seed, Purpose::Replacement, sample);
        let mut image = image;
        for _ in 0..MAX_TRIES {
            match self.source.decode(image) {
                Ok(image) => return Ok(image),
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
        let allowed = (self.config.max_bad_share * self.source.len() as f64).max(1.0);
        let count = undecodable.len();
        drop(undecodable);
        if count as f64 > allowed { Err(self.too_many_undecodable()) } else { Ok(()) }
    }

    fn too_many_undecodable(&self) -> DataError {
        let (undecodable, names) = self.listed_undecodable();
        DataError::TooManyUndecodable { undecodable, total: self.source.len(), names }
    }

    /// The number of undecodable images so far, and the first of them with their problems.
    fn listed_undecodable(&self) -> (usize, Vec<String>) {
        let undecodable = self.undecodable.lock().unwrap_or_else(PoisonError::into_inner);
        (undecodable.len(), undecodable.values().take(MAX_LISTED_IMAGES).cloned().collect())
    }

    /// Crops, converts and flips an image.
    fn augmented(&self, image: &Image, sample: u64) -> Image {
        let mut stream = Stream::new(self.config.seed, Purpose::Augmentation, sample);
        // All numbers are always drawn, so that switching one augmentation off does not change the other.
        let (position, flip) = ((stream.uniform(), stream.uniform()), stream.bernoulli(0.5));
        let position = if self.config.random_crop { position } else { (0.5, 0.5) };
        let converted = self.config.conversion.apply(image, position);
        if flip && self.config.horizontal_flip { converted.flipped_horizontally() } else { converted }
    }
}
