//! `ddpm-train`: images in, a model and images out.
//!
//! Reading order: [`args`], [`config`] with [`overlay`] and [`config_tables`], [`run_choice`], [`session`]; beside them
//! [`presets`], [`renamed_keys`], [`sample_config`], [`model`], [`watch`], [`benchmark`], [`hub`], [`out_of_memory`].

mod args;
mod benchmark;
mod config;
mod config_tables;
#[cfg(feature = "hub")]
mod dataset_name;
mod diffusion_config;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "no_hub.rs"]
mod hub;
mod model;
mod out_of_memory;
mod overlay;
mod presets;
mod renamed_keys;
mod run_choice;
mod sample_config;
mod session;
mod watch;

use std::process::ExitCode;

use ddpm_cli::{Ended, Progress, usage};

use crate::args::Args;
use crate::config::RunConfig;
use crate::model::Init;
use crate::run_choice::Request;

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

    if let Some(steps) = args.benchmark {
        let config = RunConfig::resolve(&args, None, None)?;
        return ddpm_cli::on_threads(args.threads, |threads| {
            let device = args.device.open()?;
            let timed = benchmark::benchmark(&config, steps, &device, threads);
            timed.map_err(|error| out_of_memory::advise_at_start(error, &device))
        });
    }
    let request = Request::read(&args)?;
    let init =
        args.init.as_deref().map(|path| Init::find(ddpm_cli::model_path("--init", path, &progress)?)).transpose()?;
    let mut config = RunConfig::resolve(&args, request.saved(&args)?.as_ref(), init.as_ref().map(|init| &init.model))?;
    let push = args.push_to_hub.as_deref().map(|id| hub::Push::new(id, &config)).transpose()?;
    if args.dry_run {
        ddpm_cli::print(&config.to_toml()?)?;
        return Ok(Ended::Done);
    }
    // A path that was typed wrong is a matter of usage; what lies behind one that exists is not.
    let data = &config.data.path;
    if data != "digits" && !hub::is_dataset(data) && !std::path::Path::new(data).exists() {
        let hint = hub::hint(data);
        return Err(usage(format!("data.path: expected images at {data}, found nothing there{hint}")));
    }
    request.check_apart(std::path::Path::new(data))?;
    hub::pin(&mut config.data, request.data_before()?.as_deref())?;
    ddpm_cli::on_threads(args.threads, |threads| {
        let device = args.device.open()?;
        let trained = session::train(request, &config, init, push.as_ref(), &device, threads, &progress);
        trained.map_err(|error| out_of_memory::advise_at_start(error, &device))
    })
}
