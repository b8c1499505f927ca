//! The configuration of a loader.

use std::path::PathBuf;

use crate::batch_share::BatchShare;
use crate::config::DataConfig;
use crate::conversion::Conversion;
use crate::fit::Fit;
use crate::image_cache::GB;
use crate::labeling::ClassBalance;
use crate::preparation::Preparation;

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
    /// How often the images of each class are visited. It has no effect on a set without classes.
    pub class_balance: ClassBalance,
    /// The largest fraction of the set that may turn out to be undecodable, in [0, 1].
    pub max_bad_share: f64,
    /// The number of pixels that all threads together may decode at a time, at least 1.
    pub max_image_pixels: u64,
    /// The number of threads that prepare batches, at least 1.
    pub workers: usize,
    /// The batches to prepare.
    pub share: BatchShare,
    /// Where resized images are kept between epochs and runs. `None` keeps none.
    pub cache: Option<CacheConfig>,
}

/// The place and the size of the cache of resized images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheConfig {
    /// The directory of the cache files of all sets.
    pub directory: PathBuf,
    /// The total size of the files in bytes.
    pub max_bytes: u64,
}

impl CacheConfig {
    /// The cache of a configuration: in `DDPM_CACHE_DIR`, or in `ddpm` in the user's directory of caches. `None` if the
    /// configuration wants none, or there is no such directory.
    pub fn new(data: &DataConfig) -> Option<Self> {
        let configured = std::env::var_os("DDPM_CACHE_DIR").map(PathBuf::from);
        let directory = configured.or_else(|| dirs::cache_dir().map(|caches| caches.join("ddpm")))?;
        data.cache.then(|| Self { directory: directory.join("images"), max_bytes: data.cache_gb.saturating_mul(GB) })
    }
}

impl LoaderConfig {
    /// The configuration without a cache for all batches of `batch_size` images with `channels` channels and the size
    /// \[height, width\].
    pub fn new(data: &DataConfig, batch_size: usize, seed: u64, channels: usize, size: [usize; 2]) -> Self {
        Self {
            batch_size,
            seed,
            conversion: Preparation::of(data).conversion(channels, size),
            random_crop: data.random_crop && data.fit == Fit::Crop,
            horizontal_flip: data.horizontal_flip,
            class_balance: data.class_balance,
            max_bad_share: data.max_bad_share,
            max_image_pixels: data.max_image_pixels,
            workers: data.workers,
            share: BatchShare::ALL,
            cache: None,
        }
    }
}
