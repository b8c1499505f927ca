//! What may be typed.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use ddpm_cli::{DeviceChoice, Verbosity};

use crate::presets;

/// Train a denoising diffusion model on images.
///
/// Without any argument it trains on 1,797 scans of handwritten digits that it carries with it, and ends with images.
#[derive(Debug, Parser)]
#[command(name = "ddpm-train", version, max_term_width = 100, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// The configuration to begin with [default: digits, or pictures where --data gives others]
    #[arg(long, value_parser = PossibleValuesParser::new(presets::names()))]
    pub(crate) preset: Option<String>,
    /// A TOML document whose keys override the preset's
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Images: a folder of images, IDX, CIFAR-10 or Parquet files, or one such file, zip or tar; `digits` for the scans
    /// in the program; `hub:OWNER/NAME[@REVISION]` for a dataset of the Hugging Face Hub; in a program built with the
    /// feature `candle-datasets`, `candle:mnist`, `candle:fashion-mnist` or `candle:cifar10`
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,
    /// Begin with the weights of a model: a run, a checkpoint, a model file, a pipeline of diffusers, or
    /// `OWNER/NAME[@REVISION]` of the Hugging Face Hub. Without --preset the network, the schedule and the sampler are
    /// that model's too
    #[arg(long, value_name = "MODEL", conflicts_with = "benchmark")]
    pub(crate) init: Option<PathBuf>,
    /// The run directory [default: runs/PRESET, or the next free runs/PRESET-N]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Optimiser steps of the whole run
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub(crate) steps: Option<u64>,
    /// Passes over the data of the whole run
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u64>,
    /// Images a step
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<u64>,
    /// The name of every random draw
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// `auto` continues the run in its directory where there is one; `never` begins anew; a run or checkpoint
    /// directory is continued
    #[arg(long, value_name = "auto|never|PATH", default_value = "auto")]
    pub(crate) resume: Resume,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Any key of the configuration, as in `--set train.learning_rate=1e-4`; may be given many times
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print the resolved configuration and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Train N steps on synthetic images, print the timings as one JSON object and stop
    #[arg(long, value_name = "N", conflicts_with = "dry_run", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) benchmark: Option<u64>,
    /// When the run is done, upload its pipeline (model.kind unet2d) to this model of the Hugging Face Hub, which is
    /// created, public, where there is none. Needs HF_TOKEN
    #[arg(long, value_name = "OWNER/NAME", conflicts_with = "benchmark")]
    pub(crate) push_to_hub: Option<String>,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    /// Print the completions of a shell and stop
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<clap_complete::Shell>,
}

/// What to do with a run that is there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resume {
    Auto,
    Never,
    From(PathBuf),
}

impl std::str::FromStr for Resume {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "never" => Self::Never,
            path => Self::From(path.into()),
        })
    }
}
