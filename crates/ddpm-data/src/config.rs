//! What the `[data]` table of a configuration says.

use serde::{Deserialize, Serialize};

use crate::DataError;

/// Where images come from and how they meet the network's size. Plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// `digits` for the embedded scans, or a path: a folder, an image, IDX, CIFAR-10 binary, Parquet, zip or tar file. The
    /// programs also take `hub:OWNER/NAME@REVISION`, which they download.
    #[serde(default)]
    pub path: String,
    /// The column of images in Parquet files. Found by their metadata and its name if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Of a dataset of the Hub, which split: `train` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Of a dataset of the Hub, which of the parts that its metadata name: the default one if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// How an image of another size meets the network's. `crop` if left out.
    #[serde(default)]
    pub fit: Fit,
    /// Whether `crop` takes a random place rather than the centre.
    #[serde(default)]
    pub random_crop: bool,
    /// Whether half the images are mirrored left to right, at random.
    #[serde(default)]
    pub horizontal_flip: bool,
    /// The share of the set that may turn out undecodable, in [0, 1]. One image always may.
    #[serde(default = "default_max_bad_share")]
    pub max_bad_share: f64,
    /// Threads that prepare batches, 1 to 64.
    #[serde(default = "default_workers")]
    pub workers: usize,
}

/// How an image of another size meets the network's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Scaled to cover, keeping its proportions; what stands out is cut off.
    #[default]
    Crop,
    /// Scaled to the very size, proportions or not.
    Stretch,
    /// Shrunk to fit inside where it is larger, keeping its proportions, in the middle of black (transparent where the
    /// network has an alpha channel).
    Pad,
}

fn default_max_bad_share() -> f64 {
    0.05
}

fn default_workers() -> usize {
    2
}

impl DataConfig {
    /// Whether it can be followed. Does not look at any file.
    ///
    /// # Errors
    /// [`DataError::Config`] with the first field that does not hold what it may.
    pub fn validate(&self) -> Result<(), DataError> {
        let wrong =
            |field, expected: &str, found: String| Err(DataError::Config { field, expected: expected.into(), found });
        if self.path.is_empty() {
            return wrong("path", "a path or `digits` (--data PATH)", "nothing".into());
        }
        if !(0.0..=1.0).contains(&self.max_bad_share) {
            return wrong("max_bad_share", "a share in [0, 1]", self.max_bad_share.to_string());
        }
        if !(1..=64).contains(&self.workers) {
            return wrong("workers", "1 to 64", self.workers.to_string());
        }
        Ok(())
    }
}
