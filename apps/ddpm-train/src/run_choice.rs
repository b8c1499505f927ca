//! Which run directory a training writes to, and from which checkpoint it goes on.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ddpm_checkpoint::{CheckpointError, RunDir, is_checkpoint, next_free_name, verify_checkpoint};
use ddpm_cli::usage;
use ddpm_trainer::LearningRateSchedule;
use toml::Table;

use crate::args::{Args, Resume};
use crate::config::{DEFAULT_PRESET, RunConfig, read_document};
use crate::watch::grid_path;

/// Where runs are put unless `--out` says otherwise.
pub(crate) const RUNS: &str = "runs";

/// What the command line says about the run, before its configuration is known.
#[derive(Debug)]
pub(crate) enum Request {
    /// This run goes on, from this checkpoint or its newest.
    Continue { run: PathBuf, checkpoint: Option<PathBuf> },
    /// A new run, in this directory, from this checkpoint of another run or from nothing.
    New { run: PathBuf, checkpoint: Option<PathBuf> },
    /// The newest run of this name goes on where it is the same and unfinished; otherwise a new one.
    Named { stem: String, may_continue: bool },
}

impl Request {
    /// Reads it off the command line.
    pub(crate) fn read(args: &Args) -> anyhow::Result<Self> {
        match (&args.resume, &args.out) {
            (Resume::From(path), out) => from_path(path, out.as_deref()),
            (Resume::Auto, Some(out)) if RunDir::is_run(out) => {
                Ok(Self::Continue { run: out.clone(), checkpoint: None })
            }
            (Resume::Never, Some(out)) if RunDir::is_run(out) => {
                Err(usage(format!("--resume never: {} holds a run already; give another --out", out.display())))
            }
            (_, Some(out)) => Ok(Self::New { run: out.clone(), checkpoint: None }),
            (resume, None) => Ok(Self::Named { stem: stem(args), may_continue: *resume == Resume::Auto }),
        }
    }

    /// The saved configuration of the run that is continued.
    pub(crate) fn saved(&self) -> anyhow::Result<Option<Table>> {
        let run = match self {
            Self::Continue { run, .. } => run.as_path(),
            Self::New { checkpoint: Some(checkpoint), .. } => match run_of(checkpoint) {
                Some(run) => run,
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let path = run.join("config.toml");
        if path.is_file() { read_document(&path).map(Some) } else { Ok(None) }
    }
}

/// `runs/STEM`: the preset's name, or that of the configuration file.
fn stem(args: &Args) -> String {
    let of_file = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_string);
    let of_config = args.config.as_ref().filter(|_| args.preset.is_none()).and_then(of_file);
    of_config.or(args.preset.clone()).unwrap_or_else(|| DEFAULT_PRESET.to_string())
}

fn from_path(path: &Path, out: Option<&Path>) -> anyhow::Result<Request> {
    // The same command again: the run that it began goes on.
    if let Some(out) = out.filter(|out| RunDir::is_run(out) && began_from(out, path)) {
        return Ok(Request::Continue { run: out.into(), checkpoint: None });
    }
    if RunDir::is_run(path) {
        let checkpoint = || RunDir::open(path)?.latest_valid().map(|entry| entry.map(|entry| entry.path));
        return match out.filter(|out| !same(out, path)) {
            None => Ok(Request::Continue { run: path.into(), checkpoint: None }),
            Some(out) => Ok(Request::New { run: out.into(), checkpoint: checkpoint()? }),
        };
    }
    if !is_checkpoint(path) {
        let found = if path.exists() { "neither" } else { "nothing there" };
        let shown = path.display();
        return Err(usage(format!(
            "--resume {shown}: expected auto, never, or a run or checkpoint directory, found {found}"
        )));
    }
    verify_checkpoint(path).with_context(|| format!("--resume {}", path.display()))?;
    let checkpoint = Some(path.to_path_buf());
    match (out, run_of(path)) {
        (Some(out), Some(run)) if !same(out, run) => Ok(Request::New { run: out.into(), checkpoint }),
        (Some(out), None) => Ok(Request::New { run: out.into(), checkpoint }),
        (_, Some(run)) => {
            let newest = RunDir::open(run)?.latest_valid()?;
            match newest.filter(|newest| !same(&newest.path, path)) {
                None => Ok(Request::Continue { run: run.into(), checkpoint }),
                Some(newest) => Err(usage(format!(
                    "--resume {}: the run went on to {}; give --out for a new run from here",
                    path.display(),
                    newest.path.display()
                ))),
            }
        }
        (None, None) => Err(usage(format!("--resume {}: give --out, it lies in no run directory", path.display()))),
    }
}

/// In a run that began with a checkpoint of another: where that one lay.
const ORIGIN_NAME: &str = "began-from";

/// Whether that run began with `path`, or with a checkpoint of the run `path`.
fn began_from(run: &Path, path: &Path) -> bool {
    let origin = std::fs::read_to_string(run.join(ORIGIN_NAME));
    origin.is_ok_and(|origin| path.canonicalize().is_ok_and(|path| Path::new(origin.trim_end()).starts_with(path)))
}

/// Writes down where a run's first checkpoint comes from, for [`began_from`].
pub(crate) fn save_origin(run: &RunDir, checkpoint: &Path) -> anyhow::Result<()> {
    let path = run.path().join(ORIGIN_NAME);
    let origin = checkpoint.canonicalize().with_context(|| format!("cannot find {}", checkpoint.display()))?;
    std::fs::write(&path, format!("{}\n", origin.display())).with_context(|| format!("cannot write {}", path.display()))
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The run that a checkpoint directory lies in: RUN/checkpoints/step-N.
fn run_of(checkpoint: &Path) -> Option<&Path> {
    let checkpoints =
        checkpoint.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "checkpoints"))?;
    checkpoints.parent()
}

/// The opened, locked run directory of a request, and the checkpoint to go on from where it is not the newest of the run.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) run: RunDir,
    pub(crate) checkpoint: Option<PathBuf>,
    /// Whether the run begins now.
    pub(crate) new: bool,
}

impl Request {
    /// Opens or creates the run directory for a run of that configuration and length.
    pub(crate) fn open(self, config: &RunConfig, total_steps: u64) -> anyhow::Result<Opened> {
        match self {
            Self::Continue { run, checkpoint } => {
                let run = RunDir::open(&run)?;
                let differing = differing_keys(&run, config)?;
                if !differing.is_empty() {
                    return Err(usage(format!(
                        "{} was started with another configuration; give another --out, or set back {}",
                        run.path().display(),
                        differing.join(", ")
                    )));
                }
                Ok(Opened { run, checkpoint, new: false })
            }
            Self::New { run, checkpoint } => Ok(Opened { run: RunDir::create(run)?, checkpoint, new: true }),
            Self::Named { stem, may_continue } => {
                if may_continue && let Some(run) = unfinished(&stem, config, total_steps)? {
                    return Ok(Opened { run, checkpoint: None, new: false });
                }
                Ok(Opened { run: RunDir::create_next(RUNS, &stem)?, checkpoint: None, new: true })
            }
        }
    }
}

/// The newest run of that name, where it is free, of the same configuration, and has steps left.
fn unfinished(stem: &str, config: &RunConfig, total_steps: u64) -> anyhow::Result<Option<RunDir>> {
    let root = Path::new(RUNS);
    let free = next_free_name(root, stem)?;
    let newest = match free.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-')).map(str::parse::<u64>) {
        Some(Ok(2)) => stem.to_string(),
        Some(Ok(next)) => format!("{stem}-{}", next - 1),
        _ => return Ok(None),
    };
    let path = root.join(newest);
    if !RunDir::is_run(&path) {
        return Ok(None);
    }
    let run = match RunDir::open(&path) {
        Err(CheckpointError::Locked { .. }) => return Ok(None),
        opened => opened?,
    };
    let done = run.latest_valid()?.map_or(0, |entry| entry.step);
    let same = run.config_path().is_file() && differing_keys(&run, config)?.is_empty();
    // A signal may have come between the last step and its pictures.
    let drawn = config.sample.preview_images == 0 || grid_path(&run.samples_path(), total_steps).exists();
    Ok((same && (done < total_steps || (done == total_steps && !drawn))).then_some(run))
}

/// Warns where a run that goes on is given another length and its learning rate follows the length.
pub(crate) fn warn_of_other_length(run: &RunDir, config: &RunConfig) -> anyhow::Result<()> {
    let train = &config.train;
    if train.learning_rate_schedule == LearningRateSchedule::Constant || !run.config_path().is_file() {
        return Ok(());
    }
    let saved = read_document(&run.config_path())?;
    let now: Table = config.to_toml()?.parse().context("the configuration does not read back")?;
    let length = |document: &Table| {
        let train = document.get("train").and_then(toml::Value::as_table);
        let one = |key: &str| Some(format!("{} {key}", train?.get(key)?));
        one("steps").or(one("epochs"))
    };
    if let (Some(was), Some(is)) = (length(&saved), length(&now))
        && was != is
    {
        tracing::warn!(
            "the run had {was} and now has {is}: its learning rate ends there from here on, so it is not the run of {is} that \
             it would have been from the beginning (only train.learning_rate_schedule = constant makes no difference)"
        );
    }
    Ok(())
}

/// The keys of the saved configuration that say something else now, those aside that may change from one part of a run
/// to the next.
fn differing_keys(run: &RunDir, config: &RunConfig) -> anyhow::Result<Vec<String>> {
    if !run.config_path().is_file() {
        return Ok(Vec::new());
    }
    let saved = read_document(&run.config_path())?;
    let now: Table = config.to_toml()?.parse().context("the configuration does not read back")?;
    let mut keys = Vec::new();
    for (table, now) in &now {
        let saved = saved.get(table);
        let names = now.as_table().into_iter().flat_map(Table::keys);
        let saved_names = saved.and_then(toml::Value::as_table).into_iter().flat_map(Table::keys);
        let names: std::collections::BTreeSet<&String> = names.chain(saved_names).collect();
        for name in names {
            let key = format!("{table}.{name}");
            let (saved, now) = (saved.and_then(|t| t.get(name)), now.get(name));
            if saved != now && !MAY_CHANGE.contains(&key.as_str()) && table != "sample" {
                let show = |value: Option<&toml::Value>| value.map_or("nothing".into(), ToString::to_string);
                keys.push(format!("{key} (was {}, is {})", show(saved), show(now)));
            }
        }
    }
    Ok(keys)
}

/// What a run leaves behind does not change what a step does; how long it is changes the learning rate alone, of which
/// [`warn_of_other_length`] tells.
const MAY_CHANGE: [&str; 8] = [
    "train.steps",
    "train.epochs",
    "train.checkpoint_every_steps",
    "train.keep_last_checkpoints",
    "train.keep_every_steps",
    "train.sample_every_steps",
    "train.log_every_steps",
    "train.max_skipped_steps",
];
