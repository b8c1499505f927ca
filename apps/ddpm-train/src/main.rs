//! `ddpm-train`: trains a model on images.
//!
//! Reading order:
//! - the command line: [`args`] with [`key_suggestion`];
//! - the configuration: [`run_config`] with [`config_table`], [`diffusion_config`], [`sample_config`] and
//!   [`table_reader`]; [`config_resolution`] with [`presets`], [`config_document`], [`overrides`] and
//!   [`renamed_keys`];
//! - the run directory: [`run_request`], [`request_parser`] with [`run_paths`], [`opened_run`] with
//!   [`config_changes`], [`history`] with [`data_path`], [`training_data`] and [`origin`];
//! - the training: [`start`], [`session`] with [`run_classes`], [`model`], [`model_description`], [`previews`], and
//!   [`run_observer`] with [`cache_progress`];
//! - several processes: [`scale_batch`], [`briefing`] and [`follower`].
//!
//! Also: [`mod@show_data`], [`mod@benchmark`] with [`gpu_operations`], [`hub`] with [`dataset_prefix`] and
//! `dataset_name`, and [`out_of_memory`].

mod args;
mod benchmark;
mod briefing;
mod cache_progress;
mod config_changes;
mod config_document;
mod config_resolution;
mod config_table;
mod data_path;
#[cfg(feature = "hub")]
mod dataset_name;
mod dataset_prefix;
mod diffusion_config;
mod follower;
mod gpu_operations;
mod history;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "no_hub.rs"]
mod hub;
mod key_suggestion;
mod model;
mod model_description;
mod opened_run;
mod origin;
mod out_of_memory;
mod overrides;
mod presets;
mod previews;
mod renamed_keys;
mod request_parser;
mod results;
mod run_classes;
mod run_config;
mod run_images;
mod run_observer;
mod run_paths;
mod run_request;
mod sample_config;
mod scale_batch;
mod session;
mod show_data;
mod slow_average;
mod start;
mod table_reader;
mod training_data;

use std::path::Path;
use std::process::ExitCode;

use ddpm_cli::{ExitReason, Job, Progress, usage_error};

use crate::args::Args;
use crate::data_path::names_no_path;
use crate::model::Init;
use crate::session::Runtime;

/// The optional features of the program, for `--version`.
const FEATURES: &[(&str, bool)] = &[
    ("cuda", cfg!(feature = "cuda")),
    ("mpi", cfg!(feature = "mpi")),
    ("nccl", cfg!(feature = "nccl")),
    ("hub", cfg!(feature = "hub")),
    ("candle-datasets", cfg!(feature = "candle-datasets")),
];

fn main() -> ExitCode {
    let mut job = Job::default();
    let result = run(&mut job);
    job.exit(result)
}

/// Runs the program. `job` becomes the job that this process is a part of.
fn run(job: &mut Job) -> anyhow::Result<ExitReason> {
    let Some(args) = ddpm_cli::parse_arguments::<Args>(FEATURES, key_suggestion::suggest_key)? else {
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
    *job = Job::join(&args.job, args.device)?;
    let verbosity = job.verbosity(args.verbosity);
    let progress = Progress::new(verbosity.quiet);
    verbosity.start(progress.bars());

    match args.benchmark {
        Some(steps) => {
            job.require_alone("--benchmark")?;
            benchmark(&args, steps)
        }
        None if job.is_rank_0() => train(&args, job, &progress),
        None => train_share(&args, job, &progress),
    }
}

fn benchmark(args: &Args, steps: u64) -> anyhow::Result<ExitReason> {
    // The images are synthetic, so their path does not matter.
    let data = args.data.clone().or_else(|| args.preset.as_ref().map(|_| "digits".to_string()));
    let config = config_resolution::resolve_config(&Args { data, ..args.clone() }, None, None)?;
    ddpm_cli::run_on_threads(args.threads, |threads| {
        let device = args.device.open()?;
        let timed = benchmark::benchmark(&config, steps, &device, threads);
        timed.map_err(|error| out_of_memory::advise_at_start(error, &device))
    })
}

/// Trains as one of the ranks other than rank 0, which reads the command line for all.
fn train_share(args: &Args, job: &Job, progress: &Progress) -> anyhow::Result<ExitReason> {
    if args.dry_run || args.show_data.is_some() {
        return Ok(ExitReason::Completed);
    }
    ddpm_cli::run_on_threads(job.threads(args.threads), |threads| {
        let device = job.open_device(args.device)?;
        let runtime = Runtime { device: &device, threads, progress, job };
        let trained = follower::train_share(runtime);
        trained.map_err(|error| out_of_memory::advise_at_start(error, &device))
    })
}

/// Resolves and checks everything that the command line specifies, then trains.
fn train(args: &Args, job: &Job, progress: &Progress) -> anyhow::Result<ExitReason> {
    // Downloads and the listing of the images may take long, and the other ranks wait meanwhile.
    let preparing = job.communicator().long_work();
    let request = request_parser::parse_request(args)?;
    let init_path =
        args.init.as_deref().map(|path| ddpm_cli::resolve_model_path("--init", path, progress)).transpose()?;
    let init = init_path.map(|path| Init::find(path, args.image_size)).transpose()?;
    let saved = request.saved_config(args)?;
    let mut config = config_resolution::resolve_config(args, saved.as_ref(), init.as_ref().map(|init| &init.model))?;
    scale_batch::share_batches(args, saved.as_ref(), &mut config.train, job)?;
    let upload = args.push_to_hub.as_deref().map(|id| hub::Upload::new(id, args.private, &config)).transpose()?;
    if args.dry_run {
        ddpm_cli::print(&config.to_toml()?)?;
        return Ok(ExitReason::Completed);
    }
    let is_saved_path = saved.is_some() && args.data.is_none();
    check_data_exists(&config.data.path, is_saved_path)?;
    if let Some(count) = args.show_data {
        hub::pin_dataset(&mut config.data, None)?;
        return show_data::show_data(&config, count, args.out.as_deref(), progress);
    }
    request.check_outside_data(Path::new(&config.data.path))?;
    hub::pin_dataset(&mut config.data, request.saved_data_path()?.as_deref())?;
    ddpm_cli::run_on_threads(job.threads(args.threads), |threads| {
        let device = job.open_device(args.device)?;
        let runtime = Runtime { device: &device, threads, progress, job };
        let trained = session::train(request, &config, init, upload.as_ref(), args.accept_new_data, runtime, preparing);
        trained.map_err(|error| out_of_memory::advise_at_start(error, &device))
    })
}

/// A path that does not exist is wrong usage. Whether an existing path contains images is checked when it is opened.
/// `is_saved` is whether the path is the one that the run has saved.
fn check_data_exists(data: &str, is_saved: bool) -> anyhow::Result<()> {
    if data == "digits" && Path::new(data).exists() {
        tracing::warn!("--data digits means the digits in the program, not the folder of this name: that is ./digits");
    }
    if names_no_path(data) || Path::new(data).exists() {
        return Ok(());
    }
    let hint = match is_saved {
        true => "; give the present path of the run's images with --data".to_string(),
        false => hub::dataset_hint(data),
    };
    Err(usage_error(format!("data.path: expected images at {data}, found nothing there{hint}")))
}
