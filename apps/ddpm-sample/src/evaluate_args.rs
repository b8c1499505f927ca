//! The command line of `ddpm-sample evaluate`.

use std::path::PathBuf;

use clap::{ValueEnum, value_parser};

use crate::args::Args;
use crate::feature_choice::InceptionPreprocessing;

/// Evaluate a model, or a folder of images.
///
/// Samples images as `ddpm-sample -n N` does, compares them with the images that the run was trained on, and writes
/// evaluation.json beside them. The same command continues where it was stopped.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EvaluateArgs {
    /// Images to compare with: a path as of ddpm-train --data [default: the images of the run]
    ///
    /// Bits per dimension and the comparison with images that the model has not seen use the run's held-out images, or
    /// these.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,

    /// Metrics, separated by commas [default: all that the given images allow]
    #[arg(long, value_name = "METRICS", value_delimiter = ',')]
    pub(crate) metrics: Vec<Metric>,

    /// Folder of images to evaluate instead of a model
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) samples: Option<PathBuf>,

    /// Network whose features are compared: inception, efficientnet-lite0, dinov2, or a file of its weights
    ///
    /// Its weights are read from NAME.safetensors or NAME.pth in $DDPM_FEATURES_DIR, or in features of the directory of
    /// caches. Without this option, the first network whose weights are there is used, if there is one.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) features: Option<String>,

    /// How images are prepared for inception [default: tensorflow]
    #[arg(long, value_name = "NAME")]
    pub(crate) preprocessing: Option<InceptionPreprocessing>,

    /// Statistics of features to compare with instead of images: an .npz file with mu and sigma
    ///
    /// As pytorch-fid, clean-fid, EDM and ADM write them. For the Fréchet distance only.
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,

    /// Write the statistics of the features of the images to compare with, for --reference
    #[arg(long, value_name = "FILE")]
    pub(crate) save_reference: Option<PathBuf>,

    /// Number of resamples for confidence intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = value_parser!(u64).range(..=100_000))]
    pub(crate) resamples: u64,

    /// Number of images for bits per dimension, each of which takes as many predictions as the model has timesteps
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u64).range(1..=1_000_000))]
    pub(crate) test_images: u64,

    /// Compare two files of results, which must have the same protocol
    #[arg(long, value_names = ["A", "B"], num_args = 2, conflicts_with_all = ["model", "samples", "data"])]
    pub(crate) compare: Option<Vec<PathBuf>>,

    #[command(flatten)]
    pub(crate) sampling: Args,
}

/// A metric of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Metric {
    /// The Fréchet distance of features: FID, FD-DINOv2 or FD-EfficientNet-Lite0
    Fd,
    /// The kernel distance of features
    Kid,
    /// The Inception Score, from the logits of the feature network
    InceptionScore,
    /// Precision and recall of features
    PrecisionRecall,
    /// The variational bound on the negative log-likelihood of test images, in bits per dimension
    BitsPerDim,
    /// Whether samples are copies of training images
    Memorization,
}

impl EvaluateArgs {
    /// Whether `metric` is asked for. Without `--metrics`, all of them are.
    pub(crate) fn wants(&self, metric: Metric) -> bool {
        self.metrics.is_empty() || self.metrics.contains(&metric)
    }

    /// Whether `--metrics` names `metric`.
    pub(crate) fn names(&self, metric: Metric) -> bool {
        self.metrics.contains(&metric)
    }
}
