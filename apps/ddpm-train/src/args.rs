//! The command line of `ddpm-train`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Parser, value_parser};
use ddpm_cli::{DeviceChoice, JobArgs, Verbosity};
use ddpm_unet::{ImageSize, Precision};

use crate::presets;

const LONG_ABOUT: &str = "\
Train a denoising diffusion model on images.

Examples:
  ddpm-train
      Train on 1,797 handwritten digits in about three minutes.
  ddpm-train --data photos --show-data 64
      Show how the network will see the images of a folder.
  ddpm-train --data photos --image-size 64 --batch-size 32
      Train on the folder. The same command continues a run that was stopped.
  ddpm-train --resume runs/pictures --steps 20000 --lr 1e-4
      Continue a run, with more steps and another learning rate.
  ddpm-train --init google/ddpm-cifar10-32 --data photos --lr 2e-5
      Fine-tune a published model.

The run directory, runs/PRESET, will hold the configuration, the metrics, preview images and checkpoints.";

/// Train a denoising diffusion model on images.
#[derive(Debug, Clone, Parser)]
#[command(name = "ddpm-train", version, long_about = LONG_ABOUT, max_term_width = 100, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Configuration to start from [default: digits, or pictures if --data names other images]
    #[arg(long, value_parser = PossibleValuesParser::new(presets::names()))]
    pub(crate) preset: Option<String>,

    /// TOML file with configuration keys that override the preset
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Training images
    ///
    /// A folder of images, a folder of IDX, CIFAR-10 or Parquet files, or one such file, zip or tar; `digits` for the
    /// scans in the program; `hub:OWNER/NAME[@REVISION]` for a dataset of the Hugging Face Hub; `candle:mnist`,
    /// `candle:fashion-mnist` or `candle:cifar10` in a program built with the feature `candle-datasets`.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<String>,

    /// Model whose weights the run starts with
    ///
    /// A run directory, a checkpoint directory, a model file, a pipeline of diffusers, or `OWNER/NAME[@REVISION]` for
    /// a model of the Hugging Face Hub. Without --preset, the run also takes the network, the noise schedule and the
    /// sampler of this model.
    #[arg(long, value_name = "MODEL", conflicts_with = "benchmark")]
    pub(crate) init: Option<PathBuf>,

    /// Run directory [default: runs/PRESET, or the next free runs/PRESET-N]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Length of the whole run in optimizer steps
    #[arg(long, value_name = "N", conflicts_with = "epochs")]
    pub(crate) steps: Option<u64>,

    /// Length of the whole run in passes over the data
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<u64>,

    /// Number of images in a batch
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<u64>,

    /// Learning rate
    #[arg(long, visible_alias = "learning-rate", value_name = "RATE")]
    pub(crate) lr: Option<f64>,

    /// Size of the images of the model: a number, or HEIGHTxWIDTH
    #[arg(long, value_name = "SIZE")]
    pub(crate) image_size: Option<ImageSize>,

    /// Decay of the EMA of the weights, or several, separated by commas
    #[arg(long, value_name = "DECAY", value_delimiter = ',')]
    pub(crate) ema_decay: Vec<f64>,

    /// Precision of the network: f32, tf32 or bf16
    #[arg(long, value_name = "TYPE")]
    pub(crate) precision: Option<Precision>,

    /// Number of threads that load images
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u64>,

    /// Seed of all random numbers
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Whether to continue a run, and which one
    ///
    /// `auto` continues the run in the run directory if there is one. `never` starts a new run. The path of a run or
    /// checkpoint directory continues that run, or starts a new one from it if --out names another directory.
    #[arg(long, value_name = "auto|never|PATH", default_value = "auto")]
    pub(crate) resume: Resume,

    /// Continue a run with other images than it was trained on so far
    ///
    /// A checkpoint records the names and sizes of the files of its images. Without this option a run whose images
    /// have changed is not continued.
    #[arg(long)]
    pub(crate) accept_new_data: bool,

    /// Device to compute on: auto, cpu, cuda or cuda:N
    ///
    /// `auto` is the first NVIDIA GPU if the program was built with CUDA and the GPU can be used, and the CPU
    /// otherwise.
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,

    /// Number of CPU threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Let every process compute train.gradient_accumulation_steps batches of a step, instead of sharing them
    ///
    /// A step then consists of as many more batches as there are processes; the log states the learning rates that
    /// this implies.
    #[arg(long, conflicts_with = "benchmark")]
    pub(crate) scale_batch: bool,

    #[command(flatten)]
    pub(crate) job: JobArgs,

    /// Set a configuration key, as in `--set train.learning_rate=1e-4`
    ///
    /// The option may be repeated. --dry-run shows all keys and their values.
    #[arg(long, value_name = "TABLE.KEY=VALUE")]
    pub(crate) set: Vec<String>,

    /// Print the resolved configuration and exit
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Write a grid of the first N training images, as the network will see them, and exit
    ///
    /// The images are decoded, resized, cropped and flipped as in training. The file is training-images.png in the
    /// directory of --out or in the working directory.
    #[arg(long, value_name = "N", conflicts_with = "dry_run", value_parser = show_data_count)]
    pub(crate) show_data: Option<usize>,

    /// Measure N training steps on synthetic images, print the timings as a JSON object and exit
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    #[arg(conflicts_with_all = ["dry_run", "show_data"])]
    pub(crate) benchmark: Option<u64>,

    /// Upload the trained pipeline to this model of the Hugging Face Hub
    ///
    /// The upload follows the last step. The model is created, public or --private, if it does not exist. The network
    /// must have
    /// model.kind unet2d, and the environment variable HF_TOKEN a token with write access.
    #[arg(long, value_name = "OWNER/NAME", conflicts_with = "benchmark")]
    pub(crate) push_to_hub: Option<String>,

    /// Create the model of --push-to-hub as a private one
    #[arg(long, requires = "push_to_hub")]
    pub(crate) private: bool,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,

    /// Print the completions for a shell and exit
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<clap_complete::Shell>,

    /// Print the man page in roff format and exit
    #[arg(long)]
    pub(crate) man_page: bool,
}

fn show_data_count(text: &str) -> Result<usize, String> {
    const MAX: usize = 10_000;
    let count = text.parse().ok().filter(|count| (1..=MAX).contains(count));
    count.ok_or_else(|| format!("expected a number from 1 to {MAX}"))
}

/// The value of `--resume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Continue the run in the run directory if there is one.
    Auto,
    /// Start a new run.
    Never,
    /// Continue the run at this path, or start a new one from it.
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
