//! `ddpm-sample`: generates images with a trained model.
//!
//! Reading order: [`args`] with [`sampler_choice`] and [`clip_choice`]; [`plan`] with [`model`], [`class_choice`],
//! [`guide`], [`sampler_options`], [`sampler_description`], [`latents`], [`edit`] and [`between`]; [`sampling`];
//! [`images`] with [`output_check`], [`output_directory`] and [`provenance`]. Also: [`out_of_memory`].

mod args;
mod between;
mod checkpoint_choice;
mod class_choice;
mod clip_choice;
mod edit;
mod guide;
mod images;
mod latents;
mod model;
mod out_of_memory;
mod output_check;
mod output_directory;
mod plan;
mod provenance;
mod sampler_choice;
mod sampler_description;
mod sampler_options;
mod sampling;
mod weight_choice;

use std::process::ExitCode;

use candle_core::Device;
use ddpm_cli::{ExitReason, Progress, StopSignal, describe_device, pluralize};
use tracing::info;

use crate::args::Args;
use crate::images::ImageWriter;
use crate::plan::Plan;
use crate::sampler_description::describe_sampler;

/// The optional features of the program, for `--version`.
const FEATURES: &[(&str, bool)] = &[("cuda", cfg!(feature = "cuda")), ("hub", cfg!(feature = "hub"))];

fn main() -> ExitCode {
    ddpm_cli::exit_code(run())
}

fn run() -> anyhow::Result<ExitReason> {
    let Some(args) = ddpm_cli::parse_arguments::<Args>(FEATURES, |_| None)? else {
        return Ok(ExitReason::Completed);
    };
    if let Some(shell) = args.completions {
        ddpm_cli::print_completions::<Args>(shell)?;
        return Ok(ExitReason::Completed);
    }
    if args.man_page {
        ddpm_cli::print_man_page::<Args>()?;
        return Ok(ExitReason::Completed);
    }
    let progress = Progress::new(args.verbosity.quiet);
    args.verbosity.start(progress.bars());
    ddpm_cli::run_on_threads(args.threads, |threads| generate(&args, threads, &progress))
}

/// Samples the images and writes them.
fn generate(args: &Args, threads: usize, progress: &Progress) -> anyhow::Result<ExitReason> {
    let device = args.device.open()?;
    let stop = StopSignal::install()?;
    let mut plan = Plan::new(args, &device, progress)?;
    output_check::prepare_outputs(args, &plan)?;
    log_plan(&plan, &device, threads);
    stop.stop_gracefully();
    if !plan.invert_ends(&device, progress, &stop)? {
        info!("stopped before an image was written");
        return Ok(stop.received().map_or(ExitReason::Completed, ExitReason::Signal));
    }
    let mut images = ImageWriter::new(args, &plan, &stop);
    let mut write = |from, batch: &_| images.write(from, batch);
    let sampled = sampling::sample_all(&plan, &device, progress, &stop, &mut write);
    match sampled.map_err(|error| out_of_memory::advise(error, &device, &plan))? {
        Some(moments) => images.finish(&moments)?,
        None => images.log_stopped(),
    }
    Ok(stop.received().map_or(ExitReason::Completed, ExitReason::Signal))
}

fn log_plan(plan: &Plan, device: &Device, threads: usize) {
    info!("model: {}, step {}", plan.model_path.display(), plan.step);
    let images = match &plan.classes {
        Some(classes) => {
            let classes = pluralize(classes.names().len(), "class");
            format!("{} of {classes}", pluralize(plan.images(), "image"))
        }
        None => pluralize(plan.images(), "image"),
    };
    let batch = match plan.batch_size {
        size if size < plan.images() => format!(" in batches of {size}"),
        _ => String::new(),
    };
    let steps = match plan.edit {
        Some(_) => format!(" ({} for an edit)", pluralize(plan.steps(), "step")),
        None => String::new(),
    };
    let (sampler, device) = (describe_sampler(&plan.sampler), describe_device(device, threads));
    info!("sampling {images}{batch} with {sampler}{steps}; seed {}, on {device}", plan.seed);
}
