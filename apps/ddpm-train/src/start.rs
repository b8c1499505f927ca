//! The initial state of a training session.

use std::path::PathBuf;

use ddpm_checkpoint::{Checkpoint, RunDir};
use tracing::{info, warn};

use crate::model::Init;
use crate::opened_run::{OpenedRun, RunProgress};
use crate::origin::{Origin, originates_from_model};

/// The initial state of a training session. It is decided once, after the run directory is opened and before the
/// network is built.
#[derive(Debug)]
pub(crate) enum Start {
    /// Step 0 with initial weights, which the seed determines.
    Fresh,
    /// Step 0 with the weights of a trained model.
    FromModel(Init),
    /// The step of a checkpoint, with its weights, moments and counters.
    Resume {
        checkpoint: Checkpoint,
        /// The directory of the checkpoint. `None` for the newest checkpoint of the run itself.
        path: Option<PathBuf>,
    },
}

impl Start {
    /// Selects the initial state of the session, loads it and logs the selection. `init` is the model of `--init`.
    ///
    /// A checkpoint takes precedence over a model, and a model over initial weights.
    ///
    /// # Errors
    /// When a checkpoint or a recorded model cannot be loaded.
    pub(crate) fn resolve(opened: &OpenedRun, init: Option<Init>) -> anyhow::Result<Self> {
        let run = &opened.run;
        let start = match &opened.progress {
            RunProgress::New { checkpoint: Some(path) } => Self::resume(path.clone())?,
            RunProgress::New { checkpoint: None } => init.map_or(Self::Fresh, Self::FromModel),
            RunProgress::WithoutCheckpoint { origin } => Self::restart(run, origin.as_ref(), init)?,
            RunProgress::WithCheckpoint { checkpoint: Some(path) } => {
                Self::resume(path.clone())?.without_init(run, init)
            }
            RunProgress::WithCheckpoint { checkpoint: None } => match run.load_latest()? {
                Some(checkpoint) => Self::Resume { checkpoint, path: None }.without_init(run, init),
                None => Self::restart(run, None, init)?,
            },
        };
        if let Self::FromModel(init) = &start {
            info!("starting from the weights of {}", init.path.display());
        }
        Ok(start)
    }

    /// The origin that a new run records.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Fresh => None,
            Self::FromModel(init) => Some(Origin::Model(init.path.clone())),
            Self::Resume { path, .. } => path.clone().map(Origin::Checkpoint),
        }
    }

    fn resume(path: PathBuf) -> anyhow::Result<Self> {
        Ok(Self::Resume { checkpoint: Checkpoint::load(&path)?, path: Some(path) })
    }

    /// The start of a run that was stopped before it had saved a checkpoint: its recorded origin again, if it has one.
    fn restart(run: &RunDir, origin: Option<&Origin>, init: Option<Init>) -> anyhow::Result<Self> {
        match (origin, init) {
            (Some(Origin::Checkpoint(path)), init) => Ok(Self::resume(path.clone())?.without_init(run, init)),
            (_, Some(init)) => Ok(Self::FromModel(init)),
            (Some(Origin::Model(path)), None) => Init::find(path.clone(), None).map(Self::FromModel),
            (None, None) => {
                warn!("{} has no checkpoint: it starts again from its first step", run.path().display());
                Ok(Self::Fresh)
            }
        }
    }

    /// Warns that a run with state of its own does not read the model of `--init`, unless the run started from that
    /// model.
    fn without_init(self, run: &RunDir, init: Option<Init>) -> Self {
        if let (Self::Resume { checkpoint, .. }, Some(init)) = (&self, init)
            && !originates_from_model(run.path(), &init.path)
        {
            let (run, step) = (run.path().display(), checkpoint.step);
            warn!(
                "--init has no effect: {run} continues from its own step {step}; give another --out to start from \
                 that model"
            );
        }
        self
    }
}
