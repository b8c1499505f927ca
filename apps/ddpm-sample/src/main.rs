//! `ddpm-sample`: a model in, pictures out.
//!
//! Reading order: [`args`], [`plan`], [`sampling`], [`pictures`].

mod args;
mod pictures;
mod plan;
mod sampling;

use std::process::ExitCode;

use ddpm_cli::{Ended, Progress, StopSignal};
use tracing::info;

use crate::args::Args;
use crate::pictures::Pictures;
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

/// Samples and writes the pictures.
fn draw(args: &Args, threads: usize, progress: &Progress) -> anyhow::Result<Ended> {
    let device = args.device.open()?;
    let stop = StopSignal::listen()?;

    let plan = Plan::new(args, &device, progress)?;
    pictures::prepare(args, &plan)?;
    info!("{}, step {}", plan.model_path.display(), plan.step);
    let on = if device.is_cpu() { format!("the CPU, {threads} threads") } else { format!("{:?}", device.location()) };
    info!("{} pictures in {} steps, on {on}", plan.images(), plan.sampler.steps);
    stop.defer();
    let mut pictures = Pictures::new(args, &plan, &stop);
    let mut take = |from, images: &_| pictures.take(from, images);
    match sampling::sample_all(&plan, &device, progress, &stop, &mut take)? {
        Some(moments) => pictures.finish(&moments)?,
        None => pictures.stopped(),
    }
    Ok(stop.received().map_or(Ended::Done, Ended::BySignal))
}
