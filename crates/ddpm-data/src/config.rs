//! The `[data]` table of a configuration.

use serde::{Deserialize, Serialize};

use crate::color::Color;
use crate::error::DataError;
use crate::fit::Fit;
use crate::labeling::{ClassBalance, Labeling};
use crate::resize_filter::ResizeFilter;

/// The source of the images and their preparation for the network. Plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// `digits` for the embedded scans, or the path of a folder, an image file, an IDX, CIFAR-10 binary or Parquet
    /// file, or a zip or tar archive. The programs also accept `hub:OWNER/NAME@REVISION` and `candle:NAME`, which they
    /// download before they call this crate.
    #[serde(default)]
    pub path: String,
    /// The column of images in Parquet files. If absent, it is found by the metadata of the file and by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The split of a dataset of the Hub; `train` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The subset (configuration) of a dataset of the Hub; its default subset if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Whether the classes of the images are read; [`Labeling::Auto`] if absent.
    #[serde(default)]
    pub labels: Labeling,
    /// The column of classes in Parquet files and in `metadata.csv` or `metadata.jsonl`. If absent, it is found by the
    /// metadata of the file and by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// How often the images of each class are visited; [`ClassBalance::None`] if absent.
    #[serde(default)]
    pub class_balance: ClassBalance,
    /// The share of the images that is held out of the training, in [0, 0.5]: see
    /// [`HoldoutSplit`](crate::HoldoutSplit). If absent, [`default_holdout_share`](crate::default_holdout_share).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout_share: Option<f64>,
    /// The path of a set of images that are not trained on, which are then used instead of a share of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holdout: Option<String>,
    /// How an image of another size is adapted to the size of the network; [`Fit::Crop`] if absent.
    #[serde(default)]
    pub fit: Fit,
    /// The interpolation with which images are resized; [`ResizeFilter::Bicubic`] if absent.
    #[serde(default)]
    pub filter: ResizeFilter,
    /// The color behind transparent pixels and beside padded images. If absent, transparent pixels are composited over
    /// white, and [`Fit::Pad`] pads with black.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Color>,
    /// Whether [`Fit::Crop`] crops at a random position instead of the center.
    #[serde(default)]
    pub random_crop: bool,
    /// Whether each image is flipped horizontally with probability 1/2.
    #[serde(default)]
    pub horizontal_flip: bool,
    /// The largest fraction of the set that may turn out to be undecodable, in [0, 1]. One image is
    /// always allowed, except with 0.
    #[serde(default = "default_max_bad_share")]
    pub max_bad_share: f64,
    /// The number of pixels that all threads together may decode at a time, at least 1. An image with more of them
    /// counts as undecodable. A reduced JPEG image counts with its reduced size.
    #[serde(default = "default_max_image_pixels")]
    pub max_image_pixels: u64,
    /// Whether the programs keep resized images in the user's directory of caches.
    #[serde(default = "default_cache")]
    pub cache: bool,
    /// The total size of the kept images of all runs in gigabytes (10⁹ bytes).
    #[serde(default = "default_cache_gb")]
    pub cache_gb: u64,
    /// The number of threads that prepare batches, from 1 to 64.
    #[serde(default = "default_workers")]
    pub workers: usize,
}

fn default_max_bad_share() -> f64 {
    0.05
}

fn default_max_image_pixels() -> u64 {
    100_000_000
}

fn default_cache() -> bool {
    true
}

fn default_cache_gb() -> u64 {
    10
}

fn default_workers() -> usize {
    2
}

impl DataConfig {
    /// Checks that every field is in its range. Does not access any file.
    ///
    /// # Errors
    /// [`DataError::Config`] with the first field that is out of range.
    pub fn validate(&self) -> Result<(), DataError> {
        let invalid =
            |field, expected: &str, found: String| Err(DataError::Config { field, expected: expected.into(), found });
        if self.path.is_empty() {
            return invalid("path", "a path or `digits` (--data PATH)", "nothing".into());
        }
        if !(0.0..=1.0).contains(&self.max_bad_share) {
            return invalid("max_bad_share", "a share in [0, 1]", self.max_bad_share.to_string());
        }
        if let Some(share) = self.holdout_share.filter(|share| !(0.0..=0.5).contains(share)) {
            return invalid("holdout_share", "a share in [0, 0.5]", share.to_string());
        }
        if self.max_image_pixels == 0 {
            return invalid("max_image_pixels", "a number from 1", "0".into());
        }
        if !(1..=64).contains(&self.workers) {
            return invalid("workers", "1 to 64", self.workers.to_string());
        }
        Ok(())
    }
}
