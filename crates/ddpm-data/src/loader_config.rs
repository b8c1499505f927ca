//! The configuration of a loader.

use crate::config::DataConfig;
use crate::conversion::Conversion;
use crate::fit::Fit;

/// The size and the preparation of batches. Plain data.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// The number of images in a batch, at least 1.
    pub batch_size: usize,
    /// The seed of the shuffles, the augmentation and the choice of replacements.
    pub seed: u64,
    /// The format that every image is converted to.
    pub conversion: Conversion,
    /// Whether [`Fit::Crop`] crops at a random position instead of the center.
    pub random_crop: bool,
    /// Whether each image is flipped horizontally with probability 1/2.
    pub horizontal_flip: bool,
    /// The largest fraction of the set that may turn out to be undecodable, in [0, 1].
    pub max_bad_share: f64,
    /// The number of threads that prepare batches, at least 1.
    pub workers: usize,
}

impl LoaderConfig {
    /// The configuration for batches of `batch_size` images with `channels` channels and the size \[height, width\].
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
