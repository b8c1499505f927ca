//! `ddpm-train`: images in, a model and images out.
//!
//! Reading order: [`args`]; the configuration in [`config`], [`overlay`] and [`config_tables`]; the run directory in
//! [`run_request`], [`request_parser`], [`opened_run`], [`origin`] and [`config_comparison`]; the training in [`start`] and
//! [`session`]. Beside them: [`presets`], [`renamed_keys`], [`sample_config`], [`model`], [`previews`], [`watch`],
//! [`benchmark`], [`hub`] and [`out_of_memory`].

mod args;
mod benchmark;
mod config;
mod config_comparison;
mod config_tables;
mod diffusion_config;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "no_hub.rs"]
mod hub;
mod model;
mod model_description;
mod opened_run;
mod origin;
mod out_of_memory;
mod overlay;
mod presets;
mod previews;
mod renamed_keys;
mod request_parser;
mod run_paths;
mod run_request;
mod sample_config;
mod session;
mod start;
mod watch;

use std::path::Path;
use std::process::ExitCode;

use ddpm_cli::{Ended, Progress, usage};

use crate::args::Args;
use crate::config::RunConfig;
use crate::model::Init;
use crate::session::Runtime;

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

    match args.benchmark {
        Some(steps) => benchmark(&args, steps),
        None => train(&args, &progress),
    }
}

fn benchmark(args: &Args, steps: u64) -> anyhow::Result<Ended> {
    let config = RunConfig::resolve(args, None, None)?;
    ddpm_cli::on_threads(args.threads, |threads| {
        let device = args.device.open()?;
        let timed = benchmark::benchmark(&config, steps, &device, threads);
        timed.map_err(|error| out_of_memory::advise_at_start(error, &device))
    })
}

/// Resolves and checks everything that the command line specifies, then trains.
fn train(args: &Args, progress: &Progress) -> anyhow::Result<Ended> {
    let request = request_parser::parse_request(args)?;
    let init_path = args.init.as_deref().map(|path| ddpm_cli::model_path("--init", path, progress)).transpose()?;
    let init = init_path.map(Init::find).transpose()?;
    let saved = request.saved_config(args)?;
    let mut config = RunConfig::resolve(args, saved.as_ref(), init.as_ref().map(|init| &init.model))?;
    let push = args.push_to_hub.as_deref().map(|id| hub::Push::new(id, &config)).transpose()?;
    if args.dry_run {
        ddpm_cli::print(&config.to_toml()?)?;
        return Ok(Ended::Done);
    }
    check_data_exists(&config.data.path)?;
    request.check_outside_data(Path::new(&config.data.path))?;
    hub::pin(&mut config.data, request.saved_data_path()?.as_deref())?;
    ddpm_cli::on_threads(args.threads, |threads| {
        let device = args.device.open()?;
        let runtime = Runtime { device: &device, threads, progress };
        let trained = session::train(request, &config, init, push.as_ref(), runtime);
        trained.map_err(|error| out_of_memory::advise_at_start(error, &device))
    })
}

/// A path that does not exist is wrong usage. Whether an existing path contains images is found out when it is opened.
fn check_data_exists(data: &str) -> anyhow::Result<()> {
    if data == "digits" || hub::is_dataset(data) || Path::new(data).exists() {
        return Ok(());
    }
    let hint = hub::hint(data);
    Err(usage(format!("data.path: expected images at {data}, found nothing there{hint}")))
}
