//! Parses the options `--resume`, `--out`, `--preset` and `--config` into a [`RunRequest`].

use std::path::{Path, PathBuf};

use anyhow::Context;
use ddpm_checkpoint::{RunDir, is_checkpoint, verify_checkpoint};
use ddpm_cli::usage_error;

use crate::args::{Args, Resume};
use crate::origin::originates_from_checkpoint;
use crate::overrides::overrides;
use crate::presets;
use crate::run_paths::{is_same_path, run_of_checkpoint, run_of_checkpoints};
use crate::run_request::RunRequest;

/// The run that `args` specify.
///
/// # Errors
/// When the options contradict each other or a path is neither a run nor a checkpoint.
pub(crate) fn parse_request(args: &Args) -> anyhow::Result<RunRequest> {
    match (&args.resume, &args.out) {
        (Resume::From(path), out) => resume_path(path, out.as_deref()),
        (Resume::Auto, Some(out)) if RunDir::is_run(out) => {
            Ok(RunRequest::Continue { run: out.clone(), checkpoint: None })
        }
        (Resume::Never, Some(out)) if RunDir::is_run(out) => {
            Err(usage_error(format!("--resume never: {} holds a run already; give another --out", out.display())))
        }
        (_, Some(out)) => Ok(RunRequest::Create { run: out.clone(), checkpoint: None }),
        (resume, None) => Ok(RunRequest::Named { name: run_name(args)?, may_continue: *resume == Resume::Auto }),
    }
}

/// The name of a run without `--out`: the stem of the configuration file, or the name of the preset.
fn run_name(args: &Args) -> anyhow::Result<String> {
    let stem = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_string);
    let config_name = args.config.as_ref().filter(|_| args.preset.is_none()).and_then(stem);
    match config_name.or(args.preset.clone()) {
        Some(name) => Ok(name),
        None => Ok(presets::default_name(&overrides(args)?).to_string()),
    }
}

/// The request of `--resume PATH`, with `--out` if it is given.
fn resume_path(path: &Path, out: Option<&Path>) -> anyhow::Result<RunRequest> {
    // The same command was given before, so the run that it created is continued.
    if let Some(out) = out.filter(|out| RunDir::is_run(out) && originates_from_checkpoint(out, path)) {
        return Ok(RunRequest::Continue { run: out.into(), checkpoint: None });
    }
    // `RUN/checkpoints` refers to the run `RUN`.
    let run = if is_checkpoint(path) { None } else { run_of_checkpoints(path).filter(|run| RunDir::is_run(run)) };
    let path = run.as_deref().unwrap_or(path);
    if RunDir::is_run(path) {
        return resume_run(path, out);
    }
    if !is_checkpoint(path) {
        let found = if path.exists() { "neither" } else { "nothing there" };
        let shown = path.display();
        return Err(usage_error(format!(
            "--resume {shown}: expected auto, never, or a run or checkpoint directory, found {found}"
        )));
    }
    resume_checkpoint(path, out)
}

/// Continues the run `run`, or creates a run in `out` from its newest checkpoint.
fn resume_run(run: &Path, out: Option<&Path>) -> anyhow::Result<RunRequest> {
    match out.filter(|out| !is_same_path(out, run)) {
        None => Ok(RunRequest::Continue { run: run.into(), checkpoint: None }),
        Some(out) => {
            let Some(newest) = RunDir::latest_valid_in(run)? else {
                return Err(usage_error(format!(
                    "--resume {}: expected a run with a checkpoint that {} can start from, found none",
                    run.display(),
                    out.display()
                )));
            };
            Ok(RunRequest::Create { run: out.into(), checkpoint: Some(newest.path) })
        }
    }
}

/// Continues the run that `path` is the newest checkpoint of, or creates a run in `out` from any checkpoint.
fn resume_checkpoint(path: &Path, out: Option<&Path>) -> anyhow::Result<RunRequest> {
    verify_checkpoint(path).with_context(|| format!("--resume {}", path.display()))?;
    let checkpoint = Some(path.to_path_buf());
    match (out, run_of_checkpoint(path)) {
        (Some(out), Some(run)) if !is_same_path(out, &run) => Ok(RunRequest::Create { run: out.into(), checkpoint }),
        (Some(out), None) => Ok(RunRequest::Create { run: out.into(), checkpoint }),
        (_, Some(run)) => {
            let newest = RunDir::latest_valid_in(&run)?;
            match newest.filter(|newest| !is_same_path(&newest.path, path)) {
                None => Ok(RunRequest::Continue { run, checkpoint }),
                Some(newest) => Err(usage_error(format!(
                    "--resume {}: the run has a newer checkpoint, {}; give --out to start a new run from this one",
                    path.display(),
                    newest.path.display()
                ))),
            }
        }
        (None, None) => Err(usage_error(format!("--resume {}: not in a run directory; give --out", path.display()))),
    }
}
