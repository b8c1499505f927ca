//! The options of sampling.

use std::path::PathBuf;

use clap::value_parser;
use ddpm_cli::{DeviceChoice, JobArgs, Verbosity, named_values};
use ddpm_data::ImageFormat;
use ddpm_diffusion::{EpsAfterClip, ReverseVariance};
use ddpm_schedule::Spacing;
use ddpm_unet::{ImageSize, Precision};

use crate::checkpoint_choice::CheckpointChoice;
use crate::clip_choice::ClipChoice;
use crate::sampler_choice::SamplerChoice;
use crate::weight_choice::WeightChoice;

/// The options of sampling.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// The model to sample from [default: the newest run under runs/]
    ///
    /// A run directory, a checkpoint directory, a model file, a pipeline of diffusers, or `OWNER/NAME[@REVISION]` for
    /// a model of the Hugging Face Hub.
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,

    /// Size of the images of a pipeline that states none: a number, or HEIGHTxWIDTH
    ///
    /// For pipelines whose sample_size is null.
    #[arg(long, value_name = "SIZE")]
    pub(crate) image_size: Option<ImageSize>,

    /// Number of images [default: 16, up to eight of each class, or as many as --latents contains]
    #[arg(short, long, value_name = "N")]
    pub(crate) number: Option<usize>,

    /// Sampling method [default: the model's]
    ///
    /// It changes nothing else: clipping, steps and spacing stay those of the model unless they are given.
    #[arg(long, value_parser = SamplerChoice::parser())]
    pub(crate) sampler: Option<SamplerChoice>,

    /// Clipping of predicted x_0 in every step: none, fixed:RANGE or dynamic:QUANTILE [default: the model's]
    ///
    /// fixed clips to ±RANGE. dynamic clips to a quantile of |x_0| of each image and divides by it (dynamic
    /// thresholding, Saharia et al. 2022). Without a number, the model's applies: usually 1, and 0.995.
    #[arg(long, value_name = "CLIP")]
    pub(crate) clip: Option<ClipChoice>,

    /// Noise that ddim adds in a step, from 0 (none) to 1 (as much as ddpm) [default: the model's]
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) eta: Option<f64>,

    /// Order of dpm-solver and dpm-solver-sde: 1, 2 or 3 [default: the model's]
    #[arg(long, value_name = "N")]
    pub(crate) order: Option<usize>,

    /// Predicted noise that ddim and heun use after predicted x_0 was clipped [default: the model's]
    #[arg(
        long,
        value_name = "WHICH",
        value_parser = named_values(EpsAfterClip::ALL, EpsAfterClip::name, eps_after_clip_help)
    )]
    pub(crate) eps_after_clip: Option<EpsAfterClip>,

    /// Variance of a step of ddpm [default: the model's]
    #[arg(long, value_parser = named_values(ReverseVariance::ALL, ReverseVariance::name, variance_help))]
    pub(crate) variance: Option<ReverseVariance>,

    /// Checkpoint of a run: last, best or the number of a step [default: last]
    ///
    /// best is the one with the lowest loss on images that were held out of the training.
    #[arg(long, value_name = "CHECKPOINT", value_parser = checkpoint_choice)]
    pub(crate) checkpoint: Option<CheckpointChoice>,

    /// Which average of the weights to sample from: DECAY, power:SIGMA, or 0 for the weights themselves
    ///
    /// DECAY is one of train.ema_decay; the default is the first one. power:0.08 is a power-function average whose
    /// length is 0.08 of the training, computed from those that the run has stored with train.power_ema_every_steps
    /// (post-hoc EMA, Karras et al. 2024b). 0 stands for the trained weights, which an average follows with a delay.
    /// Needs a run or a checkpoint: model files and pipelines hold one average only.
    #[arg(long, value_name = "AVERAGE", value_parser = weight_choice)]
    pub(crate) ema: Option<WeightChoice>,

    /// Classes of the images, separated by commas: names, numbers or all [default: all classes of the model]
    ///
    /// For class-conditional models. The classes take turns: with three of them, -n 12 generates four images of each,
    /// and the grid has one row for each class.
    #[arg(long = "class", value_name = "CLASSES")]
    pub(crate) classes: Vec<String>,

    /// Guidance scale: 1 is none, more amplifies the class, 0 ignores it [default: the model's]
    ///
    /// Classifier-free guidance (Ho & Salimans 2022), whose w is this scale minus 1; with --guide, autoguidance.
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub(crate) guidance: Option<f64>,

    /// Noise levels with guidance, as sigma = sqrt((1 - alpha_bar) / alpha_bar) [default: the model's]
    ///
    /// For example 0.3..3. At other levels, predictions are not guided, which takes half the time (Kynkäänniemi et al.
    /// 2024).
    #[arg(long, value_name = "LOW..HIGH", value_parser = guidance_interval)]
    pub(crate) guidance_interval: Option<[f64; 2]>,

    /// How far a guided prediction gets back the standard deviation of the unguided one, from 0 to 1 [default: the
    /// model's]
    ///
    /// It reduces the contrast that strong guidance adds (Lin et al. 2024).
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) guidance_rescale: Option<f64>,

    /// Guide away from another, weaker model instead of from images without a class
    ///
    /// Autoguidance (Karras et al. 2024a): for example an earlier checkpoint of the same run. It needs --guidance.
    #[arg(long, value_name = "MODEL")]
    pub(crate) guide: Option<PathBuf>,

    /// Number of sampling steps [default: the model's]
    ///
    /// At most the number of timesteps that the model was trained with.
    #[arg(long, value_name = "S")]
    pub(crate) steps: Option<usize>,

    /// Timesteps that are used if --steps is smaller than their number [default: the model's]
    #[arg(long, value_parser = named_values(Spacing::ALL, Spacing::name, spacing_help))]
    pub(crate) spacing: Option<Spacing>,

    /// Seed of the noise
    ///
    /// Image i depends only on the model, the sampler, the seed and i.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Index of the first image
    ///
    /// `-n 4 --first 8` generates images 8 to 11 of a larger set.
    #[arg(long, value_name = "I", default_value_t = 0)]
    pub(crate) first: u64,

    /// Number of images that are computed together
    ///
    /// It changes memory use and speed. The images change by rounding errors only, less than 1e-4 in [-1, 1].
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) batch_size: usize,

    /// Directory for the samples [default: samples/RUN-step-N-seed-S]
    ///
    /// It will hold a folder images with one file per image, written as soon as it is finished; grid.png, which shows
    /// the first 4096; denoising.png; and samples.json, which says how to sample them again. A directory with samples
    /// of another model, seed or sampler is refused; the default directory then gets a number.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Replace the samples in --out
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Format of the individual images: png, webp (lossless), jpeg or jpeg:QUALITY
    ///
    /// PNG files hold the model, the seed, the index and the sampler as text.
    #[arg(long, value_name = "FORMAT", default_value_t = ImageFormat::Png)]
    pub(crate) format: ImageFormat,

    /// Enlarge the sides of the individual images N times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=64))]
    pub(crate) scale: u64,

    /// Number of columns of the grid [default: as many as rows, or one row for each class]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=4096))]
    pub(crate) grid_columns: Option<u64>,

    /// Precision of the network
    ///
    /// tf32 and bf16 are meant for GPUs. They change the images slightly.
    #[arg(
        long,
        value_name = "TYPE",
        default_value_t = Precision::F32,
        value_parser = named_values(Precision::ALL, Precision::name, precision_help)
    )]
    pub(crate) precision: Precision,

    /// Device to compute on: auto, cpu, cuda or cuda:N
    ///
    /// `auto` is the first NVIDIA GPU if the program was built with CUDA and the GPU can be used, and the CPU
    /// otherwise.
    #[arg(long, default_value = "auto")]
    pub(crate) device: DeviceChoice,

    /// Number of CPU threads [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,

    /// Start from the latents x_T of a safetensors file
    ///
    /// The file contains a tensor `latents`, f32 [n, channel, height, width].
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,

    /// Also write the images to a safetensors file, without rounding
    ///
    /// The file will contain a tensor `samples`, f32 [n, channel, height, width] in [-1, 1].
    #[arg(long, value_name = "FILE")]
    pub(crate) save_tensors: Option<PathBuf>,

    /// Also write denoising.gif, an animation of the denoising
    #[arg(long)]
    pub(crate) gif: bool,

    /// Number of timesteps between two images of the denoising strip
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = value_parser!(u64).range(1..))]
    pub(crate) strip_every: u64,

    /// Edit an image, or every image of a folder or an archive: add noise, then sample from there
    ///
    /// SDEdit (Meng et al. 2022). --strength sets how much noise is added. Images are resized as in training.
    #[arg(long, value_name = "IMAGES", conflicts_with_all = ["latents", "interpolate", "inpaint", "variations_of"])]
    pub(crate) from: Option<PathBuf>,

    /// Generate variations of an image: --from with other noise for each of them
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["latents", "interpolate", "inpaint"])]
    pub(crate) variations_of: Option<PathBuf>,

    /// Noise of --from and --variations-of, from 0 (the image itself) to 1 (nearly a new image) [default: 0.5, 0.6 for
    /// variations]
    ///
    /// It is the share of the sampling steps that are taken.
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub(crate) strength: Option<f64>,

    /// Paint the white parts of --mask in an image, or in every image of a folder or an archive
    ///
    /// RePaint (Lugmayr et al. 2022). All other pixels are reproduced exactly.
    #[arg(long, value_name = "IMAGES", requires = "mask", conflicts_with_all = ["latents", "interpolate"])]
    pub(crate) inpaint: Option<PathBuf>,

    /// Mask of --inpaint, of the size of the images: white is painted, black is kept
    ///
    /// One mask for all images, or a folder with one for each, in the same order.
    #[arg(long, value_name = "IMAGES", requires = "inpaint")]
    pub(crate) mask: Option<PathBuf>,

    /// How often --inpaint takes each step, so that the painted parts fit the others: 1 or more
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=100))]
    pub(crate) resamplings: u64,

    /// Number of steps that --inpaint takes back at a time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=1000))]
    pub(crate) jump_length: u64,

    /// Interpolate between these two images instead of between two samples
    ///
    /// Both are inverted with DDIM, in 50 steps with the spacing leading unless --steps and --spacing say otherwise. It
    /// needs --interpolate.
    #[arg(long, value_names = ["IMAGE", "IMAGE"], num_args = 2, requires = "interpolate")]
    pub(crate) between: Option<Vec<PathBuf>>,

    /// Generate N images that interpolate from image --first to the next one, instead of independent images
    #[arg(
        long,
        value_name = "N",
        conflicts_with_all = ["number", "latents", "gif", "grid_only"],
        value_parser = value_parser!(u64).range(2..=1000)
    )]
    pub(crate) interpolate: Option<u64>,

    /// Write only the grid and the denoising strip, not the individual images
    #[arg(long)]
    pub(crate) grid_only: bool,

    #[command(flatten)]
    pub(crate) job: JobArgs,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,

    /// Print the completions for a shell and exit
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<clap_complete::Shell>,

    /// Print the man page in roff format and exit
    #[arg(long)]
    pub(crate) man_page: bool,
}

impl Args {
    /// Whether given images are edited.
    pub(crate) fn edits_images(&self) -> bool {
        self.from.is_some() || self.variations_of.is_some() || self.inpaint.is_some()
    }
}

fn checkpoint_choice(text: &str) -> Result<CheckpointChoice, String> {
    CheckpointChoice::parse(text)
}

fn weight_choice(text: &str) -> Result<WeightChoice, String> {
    WeightChoice::parse(text)
}

/// Parses the value of `--guidance-interval`.
fn guidance_interval(text: &str) -> Result<[f64; 2], String> {
    let bounds = text.split_once("..").and_then(|(low, high)| Some([low.parse().ok()?, high.parse().ok()?]));
    bounds.ok_or_else(|| "expected LOW..HIGH, two noise levels".to_owned())
}

fn eps_after_clip_help(choice: EpsAfterClip) -> &'static str {
    match choice {
        EpsAfterClip::Rederived => "Computed again, from x_t and the clipped x_0",
        EpsAfterClip::Predicted => "As the network predicted it, as in the DDIM scheduler of diffusers",
    }
}

fn variance_help(variance: ReverseVariance) -> &'static str {
    match variance {
        ReverseVariance::FixedLarge => "beta",
        ReverseVariance::FixedSmall => "beta * (1 - alpha_bar_prev) / (1 - alpha_bar), the variance of the posterior",
        ReverseVariance::Learned => "The network predicts its logarithm in further output channels",
        ReverseVariance::LearnedRange => "The network predicts where it lies between the two fixed ones",
    }
}

fn spacing_help(spacing: Spacing) -> &'static str {
    match spacing {
        Spacing::Leading => "Every k-th timestep from the first one",
        Spacing::Trailing => "Every k-th timestep back from the last one",
        Spacing::Linspace => "Evenly spaced from the first to the last one",
    }
}

fn precision_help(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "Single precision",
        Precision::Tf32 => "Single precision with products of 11 bits, on GPUs that have TF32",
        Precision::Bf16 => "bfloat16, with sums in single precision",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_description() {
        assert!(EpsAfterClip::ALL.iter().all(|value| !eps_after_clip_help(*value).is_empty()));
    }
}
