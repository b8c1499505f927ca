//! What may be typed.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use ddpm_cli::{DeviceChoice, Verbosity};
use ddpm_diffusion::{Clipping, EpsAfterClip, Method, ReverseVariance};
use ddpm_schedule::Spacing;
use ddpm_unet::Precision;

/// Generate images with a trained denoising diffusion model.
///
/// Without any argument it samples the newest run under runs/.
#[derive(Debug, Parser)]
#[command(name = "ddpm-sample", version, max_term_width = 100, allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A run directory, a checkpoint directory, a model file, a pipeline of diffusers, or `OWNER/NAME[@REVISION]` of the Hugging Face
    /// Hub [default: the newest run under runs/]
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Images [default: 16, or as many as --latents holds]
    #[arg(short, long, value_name = "N")]
    pub(crate) number: Option<usize>,
    /// The sampling procedure; all but ddpm and ddpm-clipped bound the predicted image as the model's own does
    /// [default: the model's]
    #[arg(long)]
    pub(crate) sampler: Option<Sampler>,
    /// Of ddim: how much noise a step adds, from none at 0 to that of ddpm at 1 [default: the model's]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) eta: Option<f64>,
    /// Of dpm-solver and dpm-solver-sde: 1, 2 or 3 [default: the model's]
    #[arg(long, value_name = "N")]
    pub(crate) order: Option<usize>,
    /// Of ddim and heun, where the predicted image is clipped: the noise that leads to the clipped one, or the predicted one, as
    /// diffusers' ddim does [default: the model's]
    #[arg(long, value_name = "WHICH")]
    pub(crate) eps_after_clip: Option<Eps>,
    /// Of ddpm, the variance of a step: beta, or beta times (1 - alpha_bar_prev) / (1 - alpha_bar) (the article's tip 1), or what the
    /// model has learnt of it [default: the model's]
    #[arg(long)]
    pub(crate) variance: Option<Variance>,
    /// Steps, at most as many as the model was trained with [default: the model's]
    #[arg(long, value_name = "S")]
    pub(crate) steps: Option<usize>,
    /// Which steps are taken where they are fewer than the model was trained with [default: the model's]
    #[arg(long)]
    pub(crate) spacing: Option<StepSpacing>,
    /// Image i is a function of the model, this number and i
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The index of the first image: `-n 4 --first 8` gives images 8 to 11 of a larger sampling
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub(crate) first: u64,
    /// Images that are computed together; changes memory and speed, and the images by rounding alone: less than 1e-4 in [-1, 1]
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) batch_size: usize,
    /// Where the images go, each as it is finished; grid.png shows the first 4096. A directory that holds files already is added to, and files of the same names are replaced
    #[arg(long, value_name = "DIR", default_value = "samples")]
    pub(crate) out: PathBuf,
    /// What the network computes in; tf32 and bf16 are for GPUs, and change images a little
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = ComputeType::F32)]
    pub(crate) precision: ComputeType,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Begin with the x_T of a safetensors file: tensor `latents`, f32 [n, channel, height, width]
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    /// Write the images before any rounding: tensor `samples`, f32 [n, channel, height, width] in [-1, 1]
    #[arg(long, value_name = "FILE")]
    pub(crate) save_tensors: Option<PathBuf>,
    /// Also draw the denoising as denoising.gif
    #[arg(long)]
    pub(crate) gif: bool,
    /// Steps of the trained schedule between the images of the denoising strip
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) strip_every: u64,
    /// Instead of independent images, N images on the way from image --first to the one after it
    #[arg(long, value_name = "N", conflicts_with_all = ["number", "latents", "gif", "grid_only"], value_parser = clap::value_parser!(u64).range(2..=1000))]
    pub(crate) interpolate: Option<u64>,
    /// Write no single images, only the grid and the strip
    #[arg(long)]
    pub(crate) grid_only: bool,
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    /// Print the completions of a shell and stop
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<clap_complete::Shell>,
}

/// The names of the sampling procedures.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Sampler {
    /// The article's procedure, on the predicted noise
    Ddpm,
    /// The same with the predicted image clipped to [-1, 1] in every step (its tip 3)
    DdpmClipped,
    /// Without noise, for some 20 to 100 steps (Song et al. 2021)
    Ddim,
    /// DPM-Solver++, without noise and of second order, for some 10 to 30 steps (Lu et al. 2022)
    DpmSolver,
    /// Its form with noise in every step
    DpmSolverSde,
    /// Heun's method, without noise, two evaluations of the network a step (Karras et al. 2022)
    Heun,
}

impl Sampler {
    /// The method, and how the predicted image is used: `own` where the name does not say.
    pub(crate) fn method_and_mean(self, own: Clipping) -> (Method, Clipping) {
        match self {
            Self::Ddpm => (Method::Ddpm, Clipping::None),
            Self::DdpmClipped => (Method::Ddpm, Clipping::Fixed),
            Self::Ddim => (Method::Ddim, own),
            Self::DpmSolver => (Method::DpmSolver, own),
            Self::DpmSolverSde => (Method::DpmSolverSde, own),
            Self::Heun => (Method::Heun, own),
        }
    }
}

/// What the network computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ComputeType {
    /// 24 bits
    F32,
    /// Products of 11 bits where a GPU has them, f32 elsewhere
    Tf32,
    /// 8 bits, sums in f32
    Bf16,
}

impl From<ComputeType> for Precision {
    fn from(of: ComputeType) -> Self {
        match of {
            ComputeType::F32 => Self::F32,
            ComputeType::Tf32 => Self::Tf32,
            ComputeType::Bf16 => Self::Bf16,
        }
    }
}

/// Which predicted noise goes with a clipped image.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Eps {
    /// The one that leads to the clipped image
    Rederived,
    /// The network's own
    Predicted,
}

impl From<Eps> for EpsAfterClip {
    fn from(eps: Eps) -> Self {
        match eps {
            Eps::Rederived => Self::Rederived,
            Eps::Predicted => Self::Predicted,
        }
    }
}

/// The names of the variances.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Variance {
    /// beta
    FixedLarge,
    /// beta times (1 - alpha_bar_prev) / (1 - alpha_bar)
    FixedSmall,
    /// Its logarithm is in the second half of the network's channels
    Learned,
    /// A place between the two fixed ones is
    LearnedRange,
}

impl From<Variance> for ReverseVariance {
    fn from(variance: Variance) -> Self {
        match variance {
            Variance::FixedLarge => Self::FixedLarge,
            Variance::FixedSmall => Self::FixedSmall,
            Variance::Learned => Self::Learned,
            Variance::LearnedRange => Self::LearnedRange,
        }
    }
}

/// The names of the spacings.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StepSpacing {
    /// Every k-th step from the first
    Leading,
    /// Every k-th step back from the last
    Trailing,
    /// Evenly from the first to the last
    Linspace,
}

impl From<StepSpacing> for Spacing {
    fn from(spacing: StepSpacing) -> Self {
        match spacing {
            StepSpacing::Leading => Self::Leading,
            StepSpacing::Trailing => Self::Trailing,
            StepSpacing::Linspace => Self::Linspace,
        }
    }
}
