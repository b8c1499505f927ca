//! `ddpm-sample`: a model in, images out.
//!
//! Reading order: [`args`], [`plan`], [`sampling`], [`images`]; beside them [`out_of_memory`].

mod args;
mod images;
mod out_of_memory;
mod plan;
mod sampling;

use std::process::ExitCode;

use ddpm_cli::{Ended, Progress, StopSignal, counted, device_in_words};
use tracing::info;

use crate::args::Args;
use crate::images::Images;
use crate::plan::Plan;

fn main() -> ExitCode {
    ddpm_cli::exit(run())
}

fn run() -> anyhow::Result<Ended> {
    let Some(args) = ddpm_cli::arguments::<Args>()? else { return Ok(Ended::Done) };
    if let Some(shell) = args.completions {
        ddpm_cli::completions::<Args>(shell)?;
        return Ok(Ended::Done);
    }
    let progress = Progress::new(args.verbosity.quiet);
    args.verbosity.start(progress.bars());
    ddpm_cli::on_threads(args.threads, |threads| draw(&args, threads, &progress))
}

/// Samples and writes the images.
fn draw(args: &Args, threads: usize, progress: &Progress) -> anyhow::Result<Ended> {
    let device = args.device.open()?;
    let stop = StopSignal::listen()?;

    let plan = Plan::new(args, &device, progress)?;
    images::prepare(args, &plan)?;
    info!("{}, step {}", plan.model_path.display(), plan.step);
    let on = device_in_words(&device, threads);
    let (count, steps) = (counted(plan.images(), "image"), counted(plan.sampler.steps, "step"));
    let together = if plan.batch_size < plan.images() { format!(", {} at once", plan.batch_size) } else { "".into() };
    info!("{count} by {} in {steps}{together}, on {on}", plan::name(plan.sampler.method));
    stop.defer();
    let mut images = Images::new(args, &plan, &stop);
    let mut take = |from, batch: &_| images.take(from, batch);
    let sampled = sampling::sample_all(&plan, &device, progress, &stop, &mut take);
    match sampled.map_err(|error| out_of_memory::advise(error, &device, &plan))? {
        Some(moments) => images.finish(&moments)?,
        None => images.stopped(),
    }
    Ok(stop.received().map_or(Ended::Done, Ended::BySignal))
}
