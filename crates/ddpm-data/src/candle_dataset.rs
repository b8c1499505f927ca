//! The image datasets that the crate candle-datasets knows by name, and where the Hugging Face Hub keeps their files.

use std::fmt;
use std::str::FromStr;

use crate::error::DataError;

/// An image dataset of candle-datasets: one of the modules of `candle_datasets::vision`.
///
/// Its files are the same Parquet files of the Hugging Face Hub that `candle_datasets` downloads. This crate reads them
/// with [`open_files`](crate::open_files) rather than with the `load` functions of candle-datasets 0.11, which loop
/// without end or panic on corrupt files and transpose the images of CIFAR-10.
///
/// # Examples
/// ```
/// use ddpm_data::{CandleDataset, CandleSplit};
///
/// let mnist: CandleDataset = "mnist".parse()?;
/// assert_eq!(mnist.repository(), "ylecun/mnist");
/// assert_eq!(mnist.file(CandleSplit::Train), "mnist/train/0000.parquet");
/// assert!("imagenet".parse::<CandleDataset>().is_err());
/// # Ok::<(), ddpm_data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandleDataset {
    /// Handwritten digits, 28 × 28, gray.
    Mnist,
    /// Items of clothing, 28 × 28, gray.
    FashionMnist,
    /// Photographs of ten classes, 32 × 32, RGB.
    Cifar10,
}

impl CandleDataset {
    /// Every dataset, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::Mnist, Self::FashionMnist, Self::Cifar10];

    /// The branch of the repositories that holds the files: the one in which the Hub keeps its conversions to Parquet.
    pub const REVISION: &str = "refs/convert/parquet";

    /// The dataset repository of the Hub, `OWNER/NAME`.
    pub fn repository(self) -> &'static str {
        match self {
            Self::Mnist => "ylecun/mnist",
            Self::FashionMnist => "zalando-datasets/fashion_mnist",
            // candle-datasets asks for the former name `cifar10`, which the Hub redirects to this one.
            Self::Cifar10 => "uoft-cs/cifar10",
        }
    }

    /// The path of the Parquet file of a split in the repository.
    pub fn file(self, split: CandleSplit) -> String {
        let subset = match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion_mnist",
            Self::Cifar10 => "plain_text",
        };
        format!("{subset}/{split}/0000.parquet")
    }
}

impl fmt::Display for CandleDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
        })
    }
}

impl FromStr for CandleDataset {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL.iter().copied().find(|dataset| dataset.to_string() == text).ok_or_else(|| DataError::Config {
            field: "path",
            expected: "candle:mnist, candle:fashion-mnist or candle:cifar10".into(),
            found: format!("candle:{text}"),
        })
    }
}

/// A split of a `candle_datasets::vision::Dataset`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CandleSplit {
    /// The training images.
    #[default]
    Train,
    /// The test images.
    Test,
}

impl CandleSplit {
    /// Every split, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::Train, Self::Test];
}

impl fmt::Display for CandleSplit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Test => "test",
        })
    }
}

impl FromStr for CandleSplit {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL.iter().copied().find(|split| split.to_string() == text).ok_or_else(|| DataError::Config {
            field: "split",
            expected: "train or test for a dataset of candle-datasets".into(),
            found: text.into(),
        })
    }
}
