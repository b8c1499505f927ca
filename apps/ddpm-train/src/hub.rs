//! What a training has from the Hugging Face Hub and gives to it: datasets, the pipeline of a run.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use ddpm_cli::{Progress, TransferBar, hub_error, usage_error};
use ddpm_data::{DataConfig, DataError, ImageSource};
use ddpm_hub::{Hub, HubConfig, HubError, RepoId, Wanted};
use ddpm_unet::NetworkConfig;
use tracing::info;

use crate::run_config::RunConfig;

/// What `data.path` begins with where the images are a dataset of the Hub.
const PREFIX: &str = "hub:";

/// Whether `data.path` names a dataset of the Hub.
pub(crate) fn is_dataset(path: &str) -> bool {
    path.starts_with(PREFIX) && !Path::new(path).exists()
}

/// Replaces the name of a dataset of the Hub by its name at one commit: a run that goes on finds the same images.
/// `before` is the `data.path` of the run that is to go on; where it is of the same dataset and nobody says a
/// revision, it stays.
pub(crate) fn pin(data: &mut DataConfig, before: Option<&str>) -> anyhow::Result<()> {
    if !is_dataset(&data.path) {
        return Ok(());
    }
    let id = dataset_id(&data.path)?;
    let before = before.and_then(|path| dataset_id(path).ok()).filter(|before| before.name() == id.name());
    let pinned = match before.filter(|_| !id.has_revision()) {
        Some(before) => before,
        None => {
            let commit =
                hub()?.dataset_commit(&id).map_err(hub_error).with_context(|| format!("data.path {}", data.path))?;
            id.at(&commit)?
        }
    };
    data.path = format!("{PREFIX}{pinned}");
    Ok(())
}

/// Opens the images of a configuration, downloaded where they are the Hub's.
pub(crate) fn open(config: &DataConfig, progress: &Progress) -> anyhow::Result<Arc<dyn ImageSource>> {
    let context = "the training data";
    let failed = |error: DataError| anyhow::Error::new(error).context(context);
    if !is_dataset(&config.path) {
        return ddpm_data::open(config).map_err(failed);
    }
    let wanted = Wanted { split: config.split.clone(), subset: config.subset.clone() };
    let files = hub()?.dataset(&dataset_id(&config.path)?, &wanted, &TransferBar::new(progress)).map_err(hub_error);
    let files = files.context(context)?;
    let column = config.column.clone().or(files.column);
    ddpm_data::open_files(&DataConfig { column, ..config.clone() }, files.paths).map_err(failed)
}

fn dataset_id(path: &str) -> anyhow::Result<RepoId> {
    let id = path.strip_prefix(PREFIX).unwrap_or(path);
    id.parse().map_err(|error| usage_error(format!("data.path: {path}: {error}")))
}

/// What may have been meant by a `data.path` where nothing is: an end of a sentence, perhaps an empty one.
pub(crate) fn hint(path: &str) -> String {
    RepoId::typed(path).map_or(String::new(), |id| format!("; a dataset of the Hub is {PREFIX}{id}"))
}

/// An upload that can be made when the run is done.
#[derive(Debug)]
pub(crate) struct Push {
    hub: Hub,
    id: RepoId,
}

impl Push {
    /// Checks, before anything is trained, what can be checked of an upload.
    pub(crate) fn new(id: &str, config: &RunConfig) -> anyhow::Result<Self> {
        let flag = |error: HubError| hub_error(error).context("--push-to-hub");
        let id: RepoId = id.parse().map_err(flag)?;
        if !matches!(config.model, NetworkConfig::UNet2d(_)) {
            return Err(usage_error(
                "--push-to-hub: expected model.kind unet2d, found another: only that one is a pipeline",
            ));
        }
        let hub = hub()?;
        hub.check_push(&id).map_err(flag)?;
        Ok(Self { hub, id })
    }

    /// Uploads the pipeline of a run that is done.
    pub(crate) fn send(&self, run: &Path, step: u64, progress: &Progress) -> anyhow::Result<()> {
        let (pipeline, id) = (run.join("pipeline"), &self.id);
        let summary = format!("After {step} steps of training");
        let sent = self.hub.push(id, &pipeline, &summary, &TransferBar::new(progress));
        let url = sent.with_context(|| {
            format!("the upload of {} (the run is done; --out {} uploads it again)", pipeline.display(), run.display())
        })?;
        info!("uploaded to {url}");
        Ok(())
    }
}

/// The one that this process asks: it remembers between [`pin`] and [`open`] which revision the commit is of.
fn hub() -> anyhow::Result<Hub> {
    static HUB: OnceLock<Hub> = OnceLock::new();
    if let Some(hub) = HUB.get() {
        return Ok(hub.clone());
    }
    let hub = Hub::new(HubConfig::from_env().map_err(hub_error)?);
    Ok(HUB.get_or_init(|| hub).clone())
}
