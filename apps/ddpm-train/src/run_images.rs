//! The images of a run: those that it trains on, and those that are held out.

use std::sync::Arc;

use anyhow::Context;
use ddpm_cli::{Progress, usage_error};
use ddpm_data::{DataConfig, HoldoutSplit, ImageSource, Labels, Preparation, default_holdout_share, prepared_images};
use ddpm_trainer::{TrainingBatch, Validation, max_validation_images};
use tracing::warn;

use crate::hub;
use crate::run_config::RunConfig;

/// The images of a run.
#[derive(Debug, Clone)]
pub(crate) struct RunImages {
    pub(crate) training: Arc<dyn ImageSource>,
    /// None if no image is held out.
    pub(crate) held_out: Option<Arc<dyn ImageSource>>,
}

impl RunImages {
    /// Opens the images of `config`, and completes `data.holdout_share`.
    ///
    /// # Errors
    /// When they cannot be opened, or the held-out images have another class.
    pub(crate) fn open(config: &mut RunConfig, progress: &Progress) -> anyhow::Result<Self> {
        let source = hub::open_images(&config.data, progress)?;
        if let Some(path) = config.data.holdout.clone() {
            config.data.holdout_share = Some(0.0);
            let data = DataConfig { path, ..config.data.clone() };
            let held_out = hub::open_images(&data, progress).context("data.holdout")?;
            if let (Some(labels), Some(held_out)) = (source.labels(), held_out.labels()) {
                held_out_classes(labels, held_out, &data.path)?;
            }
            if source.fingerprint().is_some_and(|fingerprint| held_out.fingerprint() == Some(fingerprint)) {
                warn!("data.holdout has the images of data.path: the loss on them does not show memorization");
            }
            return Ok(Self { training: source, held_out: Some(held_out) });
        }
        let batch = config.train.batch_size;
        let share = config.data.holdout_share;
        let mut split =
            HoldoutSplit::new(source.clone(), &config.data.path, share.unwrap_or(default_holdout_share(source.len())));
        if share.is_none() && split.training.len() < batch {
            // Nobody asked for held-out images, and the others would not fill a batch.
            split = HoldoutSplit::new(source, &config.data.path, 0.0);
            config.data.holdout_share = Some(0.0);
        }
        let whole = split.training.len() + split.held_out.len();
        config.data.holdout_share.get_or_insert(default_holdout_share(whole));
        let HoldoutSplit { training, held_out } = split;
        Ok(Self { training, held_out: Some(held_out).filter(|images| !images.is_empty()) })
    }

    /// Checks that the held-out images have classes if the network of `config` takes them, and warns of keys without an
    /// effect.
    ///
    /// # Errors
    /// When they have none.
    pub(crate) fn check(&self, config: &RunConfig) -> anyhow::Result<()> {
        let has_no_classes = |images: &Arc<dyn ImageSource>| images.labels().is_none();
        if let Some(path) = &config.data.holdout
            && config.model.takes_class_labels()
            && self.held_out.as_ref().is_some_and(has_no_classes)
        {
            return Err(usage_error(format!(
                "data.holdout: expected images with classes, as those of data.path have, found none in {path}; \
                 --set data.labels=none trains without classes"
            )));
        }
        if config.train.stop_when_overfit && (self.held_out.is_none() || config.train.validate_every_steps == Some(0)) {
            warn!("train.stop_when_overfit has no effect: no images are held out, or there are no validations");
        }
        Ok(())
    }

    /// The images whose loss is followed; None if none are held out or `train.validate_every_steps` is 0.
    ///
    /// # Errors
    /// When the images cannot be decoded.
    pub(crate) fn validation(&self, config: &RunConfig) -> anyhow::Result<Option<Validation>> {
        let Some(held_out) = self.held_out.as_ref().filter(|_| config.train.validate_every_steps != Some(0)) else {
            return Ok(None);
        };
        let size = config.model.image_size();
        let values = config.model.channels() * size.height * size.width;
        let most = max_validation_images(values).min(held_out.len()).min(self.training.len());
        let classes = match (self.training.labels(), held_out.labels()) {
            (Some(labels), Some(held_out)) => Some(held_out_classes(labels, held_out, "")?),
            _ => None,
        };
        let training = validation_images(self.training.as_ref(), config, most, None)?;
        let held_out = validation_images(held_out.as_ref(), config, most, classes.as_deref())?;
        Ok(Some(Validation::new(held_out, training)?))
    }
}

/// For each class of the held-out images, the label of the class of that name among the training images.
fn held_out_classes(training: &Labels, held_out: &Labels, path: &str) -> anyhow::Result<Vec<u32>> {
    let label = |name: &String| {
        let found = training.classes().iter().position(|class| class == name);
        let label = found.ok_or_else(|| {
            let classes = training.classes().join(", ");
            usage_error(format!("data.holdout: expected images of the classes {classes}, found {name} in {path}"))
        })?;
        Ok(label as u32)
    };
    held_out.classes().iter().map(label).collect()
}

/// At most `most` images of `source`, evenly spread. `labels` are the labels of its classes, if they are other ones.
fn validation_images(
    source: &dyn ImageSource,
    config: &RunConfig,
    most: usize,
    labels: Option<&[u32]>,
) -> anyhow::Result<TrainingBatch> {
    let size = config.model.image_size();
    let conversion = Preparation::of(&config.data).conversion(config.model.channels(), [size.height, size.width]);
    let indices = (0..most).map(|i| i * source.len() / most);
    let images = prepared_images(source, &conversion, config.data.max_image_pixels, indices)
        .context("the images of the validation")?;
    let own = |label: u32| labels.map_or(label, |labels| labels[label as usize]);
    let with_classes = config.model.takes_class_labels();
    let labels = images.labels.filter(|_| with_classes).map(|labels| labels.into_iter().map(own).collect());
    Ok(TrainingBatch { images: images.images, labels })
}
