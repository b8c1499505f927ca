//! `ddpm-sample`: generates images with a trained model.
//!
//! Reading order: [`command_line`]; [`args`] with [`sampler_choice`], [`checkpoint_choice`], [`weight_choice`] and
//! [`clip_choice`]; [`mod@generate`]; [`plan`] with [`model`], [`class_choice`], [`guide`], [`sampler_options`],
//! [`sampler_description`], [`latents`], [`edit`] and [`between`]; [`sampling`]; [`images`] with [`output_check`],
//! [`output_directory`] and [`provenance`]. Also: [`out_of_memory`].
//! Evaluations: [`evaluate_args`]; [`evaluate`] with [`evaluation_images`], [`bits_per_dim`], [`memorization`],
//! [`feature_choice`], [`image_features`] and [`feature_metrics`]; [`evaluation`].

mod args;
mod between;
mod bits_per_dim;
mod checkpoint_choice;
mod class_choice;
mod clip_choice;
mod command_line;
mod edit;
mod evaluate;
mod evaluate_args;
mod evaluation;
mod evaluation_images;
mod feature_choice;
mod feature_metrics;
mod generate;
mod guide;
mod image_features;
mod images;
mod latents;
mod memorization;
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

use ddpm_cli::{ExitReason, Job, Progress, StopSignal};

use crate::command_line::{Command, CommandLine};
use crate::generate::generate;

/// The optional features of the program, for `--version`.
const FEATURES: &[(&str, bool)] = &[
    ("cuda", cfg!(feature = "cuda")),
    ("mpi", cfg!(feature = "mpi")),
    ("nccl", cfg!(feature = "nccl")),
    ("hub", cfg!(feature = "hub")),
];

fn main() -> ExitCode {
    let mut job = Job::default();
    let result = run(&mut job);
    job.exit(result)
}

/// Runs the program. `job` becomes the job that this process is a part of.
fn run(job: &mut Job) -> anyhow::Result<ExitReason> {
    let Some(CommandLine { command, args }) = ddpm_cli::parse_arguments::<CommandLine>(FEATURES, |_| None)? else {
        return Ok(ExitReason::Completed);
    };
    if let Some(Command::Evaluate(evaluation)) = command {
        *job = Job::join(&evaluation.sampling.job, evaluation.sampling.device)?;
        job.require_alone("evaluate")?;
        let progress = Progress::new(evaluation.sampling.verbosity.quiet);
        evaluation.sampling.verbosity.start(progress.bars());
        let threads = evaluation.sampling.threads;
        return ddpm_cli::run_on_threads(threads, |threads| evaluate::evaluate(&evaluation, threads, &progress));
    }
    if let Some(shell) = args.completions {
        ddpm_cli::print_completions::<CommandLine>(shell)?;
        return Ok(ExitReason::Completed);
    }
    if args.man_page {
        ddpm_cli::print_man_page::<CommandLine>()?;
        return Ok(ExitReason::Completed);
    }
    *job = Job::join(&args.job, args.device)?;
    let verbosity = job.verbosity(args.verbosity);
    let progress = Progress::new(verbosity.quiet);
    verbosity.start(progress.bars());
    let job = &*job;
    ddpm_cli::run_on_threads(job.threads(args.threads), |threads| {
        let (device, stop) = (job.open_device(args.device)?, StopSignal::install_for(job)?);
        generate(&args, &device, &stop, threads, &progress, job)?;
        Ok(stop.received().map_or(ExitReason::Completed, ExitReason::Signal))
    })
}
