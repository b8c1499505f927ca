//! What a training has from the Hugging Face Hub and gives to it: datasets, the pipeline of a run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use ddpm_cli::{Progress, Transfer, hub_error, usage};
use ddpm_data::{DataConfig, DataError, ImageSource};
use ddpm_hub::{DatasetSelection, Hub, HubConfig, HubError, RepoId};
use ddpm_unet::NetworkConfig;
use tracing::info;

use crate::dataset_name::{DatasetName, is_dataset_name};
use crate::run_config::RunConfig;

/// Whether `data.path` names a dataset rather than a path.
pub(crate) fn is_dataset(path: &str) -> bool {
    is_dataset_name(path) && !Path::new(path).exists()
}

/// Replaces the name of a dataset by its name at one commit, so that a run that is continued finds the same images.
/// `before` is the `data.path` of the run to continue; its commit is kept if it is of the same dataset and the user
/// gives no revision.
pub(crate) fn pin(data: &mut DataConfig, before: Option<&str>) -> anyhow::Result<()> {
    if !is_dataset(&data.path) {
        return Ok(());
    }
    let name = dataset_name(&data.path)?;
    check_split(&name, data)?;
    let before = before.filter(|path| is_dataset_name(path)).and_then(|path| path.parse::<DatasetName>().ok());
    let pinned = match before.filter(|before| !name.has_revision() && before.is_same_dataset(&name)) {
        Some(before) => before,
        None => {
            let commit = hub()?.dataset_commit(&name.repository()?).map_err(hub_error);
            name.at(&commit.with_context(|| format!("data.path {}", data.path))?)?
        }
    };
    data.path = pinned.to_string();
    Ok(())
}

/// Opens the images of a configuration. A dataset of the Hub is downloaded first.
pub(crate) fn open(config: &DataConfig, progress: &Progress) -> anyhow::Result<Arc<dyn ImageSource>> {
    let context = "the training data";
    let failed = |error: DataError| anyhow::Error::new(error).context(context);
    if !is_dataset(&config.path) {
        return ddpm_data::open(config).map_err(failed);
    }
    let name = dataset_name(&config.path)?;
    let (paths, column) = download(&name, config, progress).context(context)?;
    let column = config.column.clone().or(column);
    ddpm_data::open_files(&DataConfig { column, ..config.clone() }, paths).map_err(failed)
}

/// Downloads the files of the configured split: their paths, and the column of images where the metadata name one.
fn download(
    name: &DatasetName,
    config: &DataConfig,
    progress: &Progress,
) -> anyhow::Result<(Vec<PathBuf>, Option<String>)> {
    let (id, transfer) = (name.repository()?, Transfer::new(progress));
    match name {
        DatasetName::Hub(_) => {
            let wanted = DatasetSelection { split: config.split.clone(), subset: config.subset.clone() };
            let files = hub()?.dataset(&id, &wanted, &transfer).map_err(hub_error)?;
            Ok((files.paths, files.column))
        }
        #[cfg(feature = "candle-datasets")]
        DatasetName::Candle { dataset, .. } => {
            let file = dataset.file(candle_split(config)?);
            Ok((vec![hub()?.dataset_file(&id, &file, &transfer).map_err(hub_error)?], None))
        }
    }
}

/// Refuses a split that the dataset cannot have, before anything is downloaded.
#[cfg(feature = "candle-datasets")]
fn check_split(name: &DatasetName, config: &DataConfig) -> anyhow::Result<()> {
    if let DatasetName::Candle { .. } = name { candle_split(config).map(drop) } else { Ok(()) }
}

#[cfg(not(feature = "candle-datasets"))]
fn check_split(_: &DatasetName, _: &DataConfig) -> anyhow::Result<()> {
    Ok(())
}

#[cfg(feature = "candle-datasets")]
fn candle_split(config: &DataConfig) -> anyhow::Result<ddpm_data::CandleSplit> {
    config.split.as_deref().map_or(Ok(ddpm_data::CandleSplit::default()), |split| split.parse().map_err(usage))
}

fn dataset_name(path: &str) -> anyhow::Result<DatasetName> {
    path.parse().map_err(|error| usage(format!("data.path: {path}: {error}")))
}

/// What may have been meant by a `data.path` where nothing is: an end of a sentence, perhaps an empty one.
pub(crate) fn hint(path: &str) -> String {
    RepoId::typed(path).map_or(String::new(), |id| format!("; a dataset of the Hub is hub:{id}"))
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
            return Err(usage("--push-to-hub: expected model.kind unet2d, found another: only that one is a pipeline"));
        }
        let hub = hub()?;
        hub.check_upload(&id).map_err(flag)?;
        Ok(Self { hub, id })
    }

    /// Uploads the pipeline of a run that is done.
    pub(crate) fn send(&self, run: &Path, step: u64, progress: &Progress) -> anyhow::Result<()> {
        let (pipeline, id) = (run.join("pipeline"), &self.id);
        let summary = format!("After {step} steps of training");
        let sent = self.hub.upload(id, &pipeline, &summary, &Transfer::new(progress));
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
