//! The model of `--guide`, from whose predictions those of the model are guided away.

use std::path::Path;

use candle_core::Device;
use ddpm_cli::{Progress, usage_error};
use ddpm_unet::{ImageSize, Network, Precision};

use crate::class_choice::ModelClasses;
use crate::model::LoadedModel;
use crate::provenance::GuideProvenance;

/// A network that guides.
#[derive(Debug)]
pub(crate) struct Guide {
    pub(crate) network: Network,
    /// Whether it takes the class labels of the images.
    pub(crate) takes_labels: bool,
}

/// A model that fits the one it guides.
#[derive(Debug)]
pub(crate) struct LoadedGuide {
    model: LoadedModel,
    takes_labels: bool,
}

impl LoadedGuide {
    /// Loads the model at `path`.
    ///
    /// # Errors
    /// When there is none, or it was trained for other images, another diffusion process or other classes than
    /// `guided`.
    pub(crate) fn load(
        path: &Path,
        guided: &LoadedModel,
        size: Option<ImageSize>,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let path = ddpm_cli::resolve_model_path("--guide", path, progress)?;
        let model = LoadedModel::read("--guide", path, size)?;
        let differs = |what: &str, expected: String, found: String| {
            let file = model.path().display();
            Err(usage_error(format!("--guide {file}: expected {what} of the model, {expected}, found {found}")))
        };
        let (own, other) = (guided.image_shape(), model.image_shape());
        if own != other {
            return differs("images", format!("{own:?}"), format!("{other:?}"));
        }
        let (own, other) = (guided.diffusion.prediction(), model.diffusion.prediction());
        if own != other {
            return differs("the prediction", own.to_string(), other.to_string());
        }
        if guided.diffusion.schedule() != model.diffusion.schedule() {
            let file = model.path().display();
            return Err(usage_error(format!(
                "--guide {file}: expected the noise schedule of the model, found another one"
            )));
        }
        let takes_labels = match (ModelClasses::of(guided)?, ModelClasses::of(&model)?) {
            (Some(own), Some(other)) if own.names() == other.names() => true,
            (_, None) => false,
            (own, Some(other)) => {
                let list = |classes: Option<&ModelClasses>| classes.map_or("none".into(), |c| c.names().join(", "));
                return differs("the classes", list(own.as_ref()), list(Some(&other)));
            }
        };
        Ok(Self { model, takes_labels })
    }

    /// Where the model comes from.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn provenance(&self) -> anyhow::Result<GuideProvenance> {
        GuideProvenance::new(&self.model.saved)
    }

    /// The network on `device`.
    ///
    /// # Errors
    /// When it cannot be built from its weights.
    pub(crate) fn build(self, device: &Device, precision: Precision) -> anyhow::Result<Guide> {
        Ok(Guide { network: self.model.build_network(device, precision)?, takes_labels: self.takes_labels })
    }
}
