//! Which run directory a training writes to, and from which checkpoint it goes on.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ddpm_checkpoint::{CheckpointError, RunDir, is_checkpoint, next_free_name, verify_checkpoint, write_atomically};
use ddpm_cli::usage;
use ddpm_trainer::LearningRateSchedule;
use toml::Table;

use crate::args::{Args, Resume};
use crate::config::{RunConfig, default_preset};
use crate::overlay::{overlay, read_document};
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
    /// A run inside the folder of its images would train on its own previews when it goes on.
    pub(crate) fn check_apart(&self, data: &Path) -> anyhow::Result<()> {
        let place = match self {
            Self::Continue { run, .. } | Self::New { run, .. } => run,
            Self::Named { .. } => Path::new(RUNS),
        };
        // What is not there yet lies where its first parent that is does.
        let absolute = std::path::absolute(place)?;
        let there = absolute.ancestors().find_map(|path| path.canonicalize().ok());
        if data.is_dir() && there.is_some_and(|there| data.canonicalize().is_ok_and(|data| there.starts_with(data))) {
            return Err(usage(format!(
                "--out: expected a folder apart from the images of {}, found {} in it",
                data.display(),
                place.display()
            )));
        }
        Ok(())
    }

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
            (resume, None) => Ok(Self::Named { stem: stem(args)?, may_continue: *resume == Resume::Auto }),
        }
    }

    /// The saved configuration of the run that is continued; None for a new run, and where `args` say the whole
    /// configuration themselves.
    ///
    /// # Errors
    /// When there is none and `args` name none: the default one is not what the checkpoint was trained with.
    pub(crate) fn saved(&self, args: &Args) -> anyhow::Result<Option<Table>> {
        let (run, from) = match self {
            Self::Continue { run, .. } => (Some(run.clone()), run),
            Self::New { checkpoint: Some(checkpoint), .. } => (run_of(checkpoint), checkpoint),
            _ => return Ok(None),
        };
        let path = run.map(|run| run.join("config.toml"));
        match path.filter(|path| path.is_file()) {
            Some(path) => read_document(&path).map(Some),
            None if args.preset.is_some() || args.config.is_some() => Ok(None),
            None => Err(usage(format!(
                "{}: expected the run's config.toml with it, found none; give the configuration with --preset or --config",
                from.display()
            ))),
        }
    }
}

impl Request {
    /// The `data.path` of the run that may go on, where there is one.
    pub(crate) fn data_before(&self) -> anyhow::Result<Option<String>> {
        let run = match self {
            Self::Continue { run, .. } => Some(run.clone()),
            Self::Named { stem, may_continue: true } => newest_named(stem)?,
            Self::New { .. } | Self::Named { .. } => None,
        };
        let Some(path) = run.map(|run| run.join("config.toml")).filter(|path| path.is_file()) else { return Ok(None) };
        let document = read_document(&path)?;
        Ok(document.get("data").and_then(|data| data.get("path")?.as_str()).map(str::to_owned))
    }
}

/// `runs/STEM`: the preset's name, or that of the configuration file.
fn stem(args: &Args) -> anyhow::Result<String> {
    let of_file = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()).map(str::to_string);
    let of_config = args.config.as_ref().filter(|_| args.preset.is_none()).and_then(of_file);
    match of_config.or(args.preset.clone()) {
        Some(stem) => Ok(stem),
        None => Ok(default_preset(&overlay(args)?).to_string()),
    }
}

fn from_path(path: &Path, out: Option<&Path>) -> anyhow::Result<Request> {
    // The same command again: the run that it began goes on.
    if let Some(out) = out.filter(|out| RunDir::is_run(out) && began_from(out, path)) {
        return Ok(Request::Continue { run: out.into(), checkpoint: None });
    }
    // The directory of a run's checkpoints stands for the run.
    let run = if is_checkpoint(path) { None } else { run_around(path).filter(|run| RunDir::is_run(run)) };
    let path = run.as_deref().unwrap_or(path);
    if RunDir::is_run(path) {
        let checkpoint = || RunDir::latest_valid_in(path).map(|entry| entry.map(|entry| entry.path));
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
        (Some(out), Some(run)) if !same(out, &run) => Ok(Request::New { run: out.into(), checkpoint }),
        (Some(out), None) => Ok(Request::New { run: out.into(), checkpoint }),
        (_, Some(run)) => {
            let newest = RunDir::latest_valid_in(&run)?;
            match newest.filter(|newest| !same(&newest.path, path)) {
                None => Ok(Request::Continue { run, checkpoint }),
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

/// Where the weights of a new run come from: written down, a run that is stopped before its first checkpoint begins there again.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A checkpoint of another run, with all that the next step depends on.
    Checkpoint(PathBuf),
    /// A model: weights alone.
    Model(PathBuf),
}

impl Origin {
    /// The file in the run's directory that says which checkpoint it was.
    const CHECKPOINT_NAME: &str = "began-from";
    /// The one that says which model it was.
    const MODEL_NAME: &str = "initialised-from";

    /// Writes down where a new run begins; None is a run that begins with weights of its own.
    pub(crate) fn save(origin: Option<&Self>, run: &RunDir) -> anyhow::Result<()> {
        let (name, origin) = match origin {
            Some(Self::Checkpoint(path)) => (Some(Self::CHECKPOINT_NAME), path.as_path()),
            Some(Self::Model(path)) => (Some(Self::MODEL_NAME), path.as_path()),
            None => (None, Path::new("")),
        };
        // Of another run, which was stopped before it had begun.
        for other in [Self::CHECKPOINT_NAME, Self::MODEL_NAME].into_iter().filter(|other| Some(*other) != name) {
            let path = run.path().join(other);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        let Some(name) = name else { return Ok(()) };
        let origin = origin.canonicalize().with_context(|| format!("cannot find {}", origin.display()))?;
        write_atomically(&run.path().join(name), |out| {
            out.write_all(origin.as_os_str().as_encoded_bytes())?;
            out.write_all(b"\n")
        })?;
        Ok(())
    }

    /// What a run has written down.
    fn of(run: &Path) -> Option<Self> {
        let read = |name| {
            let mut bytes = std::fs::read(run.join(name)).ok()?;
            bytes.pop_if(|last| *last == b'\n');
            String::from_utf8(bytes).ok().map(PathBuf::from)
        };
        read(Self::CHECKPOINT_NAME).map(Self::Checkpoint).or_else(|| read(Self::MODEL_NAME).map(Self::Model))
    }
}

/// Whether that run began with the weights of the model at `path`.
pub(crate) fn initialised_from(run: &Path, path: &Path) -> bool {
    matches!(Origin::of(run), Some(Origin::Model(origin)) if same(&origin, path))
}

/// Whether that run began with the checkpoint `path`, or with one of the run `path`.
fn began_from(run: &Path, path: &Path) -> bool {
    let Some(Origin::Checkpoint(origin)) = Origin::of(run) else { return false };
    path.canonicalize().is_ok_and(|path| origin.starts_with(path))
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The run that a checkpoint directory lies in: RUN/checkpoints/step-N.
fn run_of(checkpoint: &Path) -> Option<PathBuf> {
    run_around(checkpoint.canonicalize().ok()?.parent()?)
}

/// The run whose directory of checkpoints that is: RUN/checkpoints.
fn run_around(checkpoints: &Path) -> Option<PathBuf> {
    let checkpoints = checkpoints.canonicalize().ok()?;
    let run = checkpoints.parent().filter(|_| checkpoints.file_name().is_some_and(|name| name == "checkpoints"))?;
    // As short as somebody in this directory would type it.
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    Some(match here.and_then(|here| run.strip_prefix(here).ok()) {
        Some(below) if below == Path::new("") => PathBuf::from("."),
        Some(below) => below.to_path_buf(),
        None => run.to_path_buf(),
    })
}

/// The opened, locked run directory of a request, and where its weights come from where that is not its newest checkpoint.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) run: RunDir,
    pub(crate) origin: Option<Origin>,
    /// Whether the run begins now.
    pub(crate) new: bool,
}

impl Opened {
    /// A run that goes on; one that was stopped before it had its first checkpoint begins where it was to begin.
    fn unfinished(run: RunDir) -> anyhow::Result<Self> {
        let origin = if run.checkpoints()?.is_empty() { Origin::of(run.path()) } else { None };
        Ok(Self { run, origin, new: false })
    }
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
                match checkpoint {
                    Some(path) => Ok(Opened { run, origin: Some(Origin::Checkpoint(path)), new: false }),
                    None => Opened::unfinished(run),
                }
            }
            Self::New { run, checkpoint } => match RunDir::create(run) {
                Err(error @ CheckpointError::AlreadyARun { .. }) => Err(usage(error)),
                created => Ok(Opened { run: created?, origin: checkpoint.map(Origin::Checkpoint), new: true }),
            },
            Self::Named { stem, may_continue } => {
                if may_continue && let Some(run) = unfinished(&stem, config, total_steps)? {
                    return Opened::unfinished(run);
                }
                let run = RunDir::create_next(RUNS, &stem)?;
                let taken = Path::new(RUNS).join(&stem);
                if may_continue && run.path() != taken {
                    tracing::info!(
                        "{} is taken by a run that is done or has another configuration: this is a new one",
                        taken.display()
                    );
                }
                Ok(Opened { run, origin: None, new: true })
            }
        }
    }
}

/// The newest run of that name, where it is free, of the same configuration, and has steps left.
fn unfinished(stem: &str, config: &RunConfig, total_steps: u64) -> anyhow::Result<Option<RunDir>> {
    let Some(path) = newest_named(stem)? else { return Ok(None) };
    if !RunDir::is_run(&path) {
        return Ok(None);
    }
    let run = match RunDir::open(&path) {
        Err(CheckpointError::Locked { .. }) => return Ok(None),
        opened => opened?,
    };
    let done = run.latest_valid()?.map_or(0, |entry| entry.step);
    let same = run.config_path().is_file() && differing_keys(&run, config)?.is_empty();
    // A signal may have come between the last step and its images.
    let drawn = config.sample.preview_images == 0 || grid_path(&run.samples_path(), total_steps).exists();
    Ok((same && (done < total_steps || (done == total_steps && !drawn))).then_some(run))
}

/// Where the newest run of that name is, if there is one.
fn newest_named(stem: &str) -> anyhow::Result<Option<PathBuf>> {
    let root = Path::new(RUNS);
    let free = next_free_name(root, stem)?;
    let newest = match free.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-')).map(str::parse::<u64>) {
        Some(Ok(2)) => stem.to_string(),
        Some(Ok(next)) => format!("{stem}-{}", next - 1),
        _ => return Ok(None),
    };
    Ok(Some(root.join(newest)))
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
    // With the keys that have come since the run began, as what they are where they are left out.
    let saved = match RunConfig::from_document(saved.clone()).and_then(|saved| saved.to_toml()) {
        Ok(text) => text.parse().unwrap_or(saved),
        Err(_) => saved,
    };
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
