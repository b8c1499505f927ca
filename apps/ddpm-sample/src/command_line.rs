//! The command line of `ddpm-sample`.

use clap::{Parser, Subcommand};

use crate::args::Args;
use crate::evaluate_args::EvaluateArgs;

const LONG_ABOUT: &str = "\
Generate images with a trained denoising diffusion model.

Examples:
  ddpm-sample
      Sample 16 images from the newest run under runs/.
  ddpm-sample runs/pictures -n 100 --sampler ddim --steps 50
      Sample 100 images in fewer steps.
  ddpm-sample google/ddpm-cifar10-32 -n 64 --out samples/cifar10
      Sample from a published model.
  ddpm-sample runs/pictures --class food-drink,flags --guidance 2
      Sample images of two classes of a class-conditional model.
  ddpm-sample runs/pictures --inpaint photo.png --mask mask.png
      Paint the white parts of the mask.
  ddpm-sample evaluate runs/pictures
      Evaluate the model of a run: see ddpm-sample evaluate --help.

The images are written to a directory under samples/.";

/// Generate images with a trained denoising diffusion model.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "ddpm-sample",
    version,
    long_about = LONG_ABOUT,
    max_term_width = 100,
    allow_negative_numbers = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) args: Args,
}

/// What the program does besides sampling.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    Evaluate(Box<EvaluateArgs>),
}
