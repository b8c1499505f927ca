//! The images that an evaluation compares with: those that a run was trained on, and others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use candle_core::Tensor;
use ddpm_cli::{grouped, usage_error};
use ddpm_data::{Conversion, DataConfig, HoldoutSplit, ImageSource, PreparedImages, open, prepared_images};
use serde::Deserialize;
use tracing::info;

/// Largest number of pixels that are decoded at a time.
const MAX_PIXELS: u64 = 100_000_000;

/// The images that an evaluation compares with.
#[derive(Debug, Clone, Default)]
pub(crate) struct EvaluationImages {
    /// The images that the model was trained on.
    pub(crate) training: Option<NamedImages>,
    /// Images that it was not trained on.
    pub(crate) test: Option<NamedImages>,
}

/// A set of images with the name that the protocol of an evaluation states.
#[derive(Debug, Clone)]
pub(crate) struct NamedImages {
    pub(crate) name: String,
    pub(crate) source: Arc<dyn ImageSource>,
}

/// The part of a run's configuration that an evaluation needs.
#[derive(Debug, Deserialize)]
struct RunConfig {
    data: DataConfig,
}

impl EvaluationImages {
    /// The images of the run that the model file `model` belongs to, and those of `--data`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn open(model: Option<&Path>, data: Option<&Path>) -> anyhow::Result<Self> {
        let mut images = match model.and_then(|model| run_file(model, "config.toml")) {
            Some(path) => Self::of_run(&path, data.is_some())?,
            None => Self::default(),
        };
        if let Some(path) = data {
            let text = path.to_str().ok_or_else(|| usage_error(format!("--data {}: not UTF-8", path.display())))?;
            let source = open(&data_config(text)?).map_err(|error| usage_error(format!("--data: {error}")))?;
            images.test = Some(NamedImages { name: format!("{text} (--data)"), source });
        }
        Ok(images)
    }

    /// The images of the run with the configuration `path`. With `may_miss`, images that cannot be opened are left out.
    fn of_run(path: &Path, may_miss: bool) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let RunConfig { data } =
            toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {}", path.display(), error.message()))?;
        let source = match open(&data) {
            Ok(source) => source,
            Err(_) if may_miss => return Ok(Self::default()),
            Err(error) => {
                return Err(usage_error(format!(
                    "the images of the run, data.path in {}: {error}; --data names images to compare with",
                    path.display()
                )));
            }
        };
        let share = data.holdout_share.unwrap_or(0.0);
        let split = HoldoutSplit::new(source, &data.path, share);
        let named = |source: Arc<dyn ImageSource>, part: &str| NamedImages {
            name: format!("{}, {} {part} images", data.path, grouped(source.len())),
            source,
        };
        let test = match &data.holdout {
            // --data takes its place.
            Some(_) if may_miss => None,
            Some(path) => {
                let source = open(&DataConfig { path: path.clone(), ..data.clone() })
                    .map_err(|error| usage_error(format!("the held-out images of the run, data.holdout: {error}")))?;
                Some(NamedImages { name: path.clone(), source })
            }
            None => Some(split.held_out).filter(|images| !images.is_empty()).map(|images| named(images, "held-out")),
        };
        Ok(Self { training: Some(named(split.training, "training")), test })
    }
}

/// The file `name` of the run that the model file `model` belongs to.
pub(crate) fn run_file(model: &Path, name: &str) -> Option<PathBuf> {
    // RUN/checkpoints/step-000100/model.safetensors
    let file = model.ancestors().nth(3)?.join(name);
    file.is_file().then_some(file)
}

/// The configuration of a set of images without anything but its path.
pub(crate) fn data_config(path: &str) -> anyhow::Result<DataConfig> {
    Ok(serde_json::from_value(serde_json::json!({ "path": path }))?)
}

impl NamedImages {
    /// Decodes and converts at most `most` images, evenly spread over the set.
    ///
    /// # Errors
    /// When none of them can be decoded.
    pub(crate) fn prepared(&self, conversion: &Conversion, most: usize) -> anyhow::Result<PreparedImages> {
        let count = self.source.len().min(most);
        let indices = (0..count).map(|i| i * self.source.len() / count.max(1));
        info!("reading {} of the {} images of {}", grouped(count), grouped(self.source.len()), self.name);
        prepared_images(self.source.as_ref(), conversion, MAX_PIXELS, indices).with_context(|| self.name.clone())
    }
}

/// One row of values in [−1, 1] for each image, [image, value].
///
/// # Errors
/// When the tensor has no image.
pub(crate) fn pixel_rows(images: &Tensor) -> anyhow::Result<ddpm_metrics::Features> {
    let rows = images.flatten_from(1)?;
    Ok(ddpm_metrics::Features::new(rows.flatten_all()?.to_vec1()?, rows.dim(1)?)?)
}
