//! The classes of a run: those of its images, if its network is conditioned on them.

use ddpm_checkpoint::{ClassDescription, ModelDescription};
use ddpm_cli::{grouped, pluralize, usage_error};
use ddpm_data::{Labeling, Labels};
use ddpm_trainer::ClassLabels;
use ddpm_unet::ClassEmbedType;
use tracing::{info, warn};

use crate::run_config::RunConfig;

/// The largest number of classes that a log line lists.
const MAX_LISTED: usize = 20;

/// The classes that the network of a run is conditioned on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunClasses {
    classes: Vec<ClassDescription>,
    /// The label that stands for no class, if there is one.
    without_class: Option<u32>,
}

impl RunClasses {
    /// Decides whether the network of `config` is conditioned on the classes of its images, and completes `config`: the
    /// number of class embeddings, or that no classes are read. `has_init` is whether the network is that of `--init`.
    ///
    /// # Errors
    /// When the network has classes and the images have none, or more than the network.
    pub(crate) fn resolve(
        config: &mut RunConfig,
        labels: Option<&Labels>,
        has_init: bool,
    ) -> anyhow::Result<Option<Self>> {
        let Some(labels) = labels else {
            if config.model.takes_class_labels() {
                return Err(usage_error(format!(
                    "model.num_class_embeds: expected images with classes, found none in {}",
                    config.data.path
                )));
            }
            config.data.labels = Labeling::None;
            return Ok(None);
        };
        let count = labels.classes().len();
        if !config.model.takes_class_labels() && has_init {
            info!("the model of --init has no classes: those of the images, {count}, are not used");
            config.data.labels = Labeling::None;
            return Ok(None);
        }
        let wants_more = config.train.class_dropout > 0.0;
        let without_class = match (config.model.class_embed_type(), config.model.num_class_embeds()) {
            (Some(ClassEmbedType::Identity), _) => {
                return Err(usage_error(
                    "model.class_embed_type: expected timestep, or none, found identity: classes are no embeddings",
                ));
            }
            // Any number can be embedded as a timestep is.
            (Some(_), _) => wants_more,
            (None, None) => {
                config.model.set_num_class_embeds(Some(count + usize::from(wants_more)));
                config.model.validate().map_err(usage_error)?;
                wants_more
            }
            (None, Some(rows)) if rows < count => {
                let valid =
                    if wants_more { format!("{} (with one for no class)", count + 1) } else { count.to_string() };
                return Err(usage_error(format!(
                    "model.num_class_embeds: expected at least {valid} for the {count} classes of {}, found {rows}",
                    config.data.path
                )));
            }
            (None, Some(rows)) => rows > count,
        };
        if wants_more && !without_class {
            warn!(
                "model.num_class_embeds = {count} has no row for images without a class: train.class_dropout has no \
                 effect, and the model cannot be sampled with guidance"
            );
        }
        let describe = |(name, images): (&String, usize)| ClassDescription { name: name.clone(), images };
        let classes = labels.classes().iter().zip(labels.counts()).map(describe).collect();
        Ok(Some(Self { classes, without_class: without_class.then_some(count as u32) }))
    }

    /// The labels that the network takes.
    pub(crate) fn labels(&self) -> ClassLabels {
        ClassLabels { classes: self.classes.len() as u32, without_class: self.without_class }
    }

    /// The names of the classes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.name.as_str())
    }

    /// The classes, for the description of the model.
    pub(crate) fn descriptions(&self) -> &[ClassDescription] {
        &self.classes
    }

    /// Logs the classes.
    pub(crate) fn log(&self) {
        let listed = self.classes.iter().take(MAX_LISTED);
        let listed: Vec<String> = listed.map(|class| format!("{} ({})", class.name, grouped(class.images))).collect();
        let more = if self.classes.len() > MAX_LISTED { ", …" } else { "" };
        info!("{}: {}{more}", pluralize(self.classes.len(), "class"), listed.join(", "));
    }
}

/// Checks that a checkpoint was trained on the same classes in the same order.
///
/// # Errors
/// When it was trained on other ones.
pub(crate) fn check_same_classes(classes: Option<&RunClasses>, trained: &ModelDescription) -> anyhow::Result<()> {
    let own: Vec<&str> = classes.iter().flat_map(|classes| classes.names()).collect();
    let trained: Vec<&str> = trained.classes.iter().map(|class| class.name.as_str()).collect();
    if own == trained {
        return Ok(());
    }
    let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(usage_error(format!(
        "the classes of the images: expected those of the checkpoint, {}, found {}",
        list(&trained),
        list(&own)
    )))
}
