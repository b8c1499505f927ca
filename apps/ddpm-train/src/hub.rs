//! The Hugging Face Hub in a training: datasets to train on, and the upload of the trained pipeline.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use ddpm_cli::{Progress, TransferBar, hub_error, usage_error};
use ddpm_data::{DataConfig, DataError, ImageSource};
use ddpm_hub::{DatasetSelection, Hub, HubConfig, HubError, RepoId, Visibility};
use tracing::info;

use crate::dataset_name::DatasetName;
use crate::dataset_prefix::is_dataset_name;
use crate::run_config::RunConfig;

/// Whether `data.path` names a dataset rather than a path.
pub(crate) fn is_dataset(path: &str) -> bool {
    is_dataset_name(path) && !Path::new(path).exists()
}

/// Pins a dataset to its present commit, so that a continued run finds the same images.
///
/// `saved` is the `data.path` of the run that may be continued. If it names the same dataset and `data.path` names no
/// revision, the saved commit is kept.
pub(crate) fn pin_dataset(data: &mut DataConfig, saved: Option<&str>) -> anyhow::Result<()> {
    if !is_dataset(&data.path) {
        return Ok(());
    }
    let name = dataset_name(&data.path)?;
    check_split(&name, data)?;
    let saved = saved.filter(|path| is_dataset_name(path)).and_then(|path| path.parse::<DatasetName>().ok());
    let pinned = match saved.filter(|saved| !name.has_revision() && saved.is_same_dataset(&name)) {
        Some(saved) => saved,
        None => {
            let commit = hub()?.dataset_commit(&name.repository()?).map_err(hub_error);
            name.at(&commit.with_context(|| format!("data.path {}", data.path))?)?
        }
    };
    data.path = pinned.to_string();
    Ok(())
}

/// Opens the training images. A dataset of the Hub is downloaded first.
pub(crate) fn open_images(config: &DataConfig, progress: &Progress) -> anyhow::Result<Arc<dyn ImageSource>> {
    let context = "the training data";
    let failed = |error: DataError| match error {
        DataError::Empty { .. } => usage_error(error),
        _ => anyhow::Error::new(error).context(context),
    };
    if !is_dataset(&config.path) {
        return ddpm_data::open(config).map_err(failed);
    }
    let name = dataset_name(&config.path)?;
    let (paths, column) = download(&name, config, progress).context(context)?;
    let column = config.column.clone().or(column);
    ddpm_data::open_files(&DataConfig { column, ..config.clone() }, paths).map_err(failed)
}

/// Downloads the files of the configured split. Returns their paths, and the column of images if the metadata name one.
fn download(
    name: &DatasetName,
    config: &DataConfig,
    progress: &Progress,
) -> anyhow::Result<(Vec<PathBuf>, Option<String>)> {
    let (id, transfer) = (name.repository()?, TransferBar::new(progress));
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
    config.split.as_deref().map_or(Ok(ddpm_data::CandleSplit::default()), |split| split.parse().map_err(usage_error))
}

fn dataset_name(path: &str) -> anyhow::Result<DatasetName> {
    path.parse().map_err(|error| usage_error(format!("data.path: {path}: {error}")))
}

/// The end of an error message about a `data.path` that does not exist: the dataset of the Hub that may have been
/// meant, or nothing.
pub(crate) fn dataset_hint(path: &str) -> String {
    RepoId::typed(path).map_or(String::new(), |id| format!("; a dataset of the Hub is hub:{id}"))
}

/// The upload that `--push-to-hub` requests.
#[derive(Debug)]
pub(crate) struct Upload {
    hub: Hub,
    id: RepoId,
    visibility: Visibility,
}

impl Upload {
    /// Checks, before the training, that the upload can be expected to succeed.
    pub(crate) fn new(id: &str, private: bool, config: &RunConfig) -> anyhow::Result<Self> {
        let failed = |error: HubError| hub_error(error).context("--push-to-hub");
        let id: RepoId = id.parse().map_err(failed)?;
        if !config.has_pipeline() {
            let found = config.model.kind();
            return Err(usage_error(format!(
                "--push-to-hub: expected model.kind unet2d, found {found}, which diffusers has no pipeline for"
            )));
        }
        let hub = hub()?;
        hub.check_upload(&id).map_err(failed)?;
        let visibility = if private { Visibility::Private } else { Visibility::Public };
        Ok(Self { hub, id, visibility })
    }

    /// Uploads the pipeline of the finished run in the directory `run`.
    pub(crate) fn send(&self, run: &Path, step: u64, progress: &Progress) -> anyhow::Result<()> {
        let (pipeline, id) = (run.join("pipeline"), &self.id);
        let summary = format!("After {step} steps of training");
        let sent = self.hub.upload(id, &pipeline, &summary, self.visibility, &TransferBar::new(progress));
        let url = sent.with_context(|| {
            let (pipeline, run) = (pipeline.display(), run.display());
            format!(
                "the upload of {pipeline} (the run is finished; the same command with --out {run} uploads it again)"
            )
        })?;
        info!("uploaded to {url}");
        Ok(())
    }
}

/// The client of this process. It remembers between [`pin_dataset`] and [`open_images`] which revision a commit
/// belongs to.
fn hub() -> anyhow::Result<Hub> {
    static HUB: OnceLock<Hub> = OnceLock::new();
    if let Some(hub) = HUB.get() {
        return Ok(hub.clone());
    }
    let hub = Hub::new(HubConfig::from_env().map_err(hub_error)?);
    Ok(HUB.get_or_init(|| hub).clone())
}
