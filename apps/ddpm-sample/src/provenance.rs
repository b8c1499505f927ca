//! Where images come from: everything that is needed to sample them again.

use std::path::PathBuf;

use ddpm_checkpoint::SavedModel;
use ddpm_diffusion::SamplerConfig;
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::class_choice::ChosenClasses;

/// The model and the settings of a sampling. `samples.json` holds it once, and each PNG file with the index of its
/// image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// The program and its version.
    pub(crate) software: String,
    /// The command line.
    pub(crate) command: Vec<String>,
    /// The file of the weights.
    pub(crate) model: PathBuf,
    /// The SHA-256 of that file.
    pub(crate) model_sha256: String,
    /// Number of optimizer steps that the model was trained for.
    pub(crate) step: u64,
    pub(crate) seed: u64,
    pub(crate) sampler: SamplerConfig,
    pub(crate) precision: String,
    /// The weights that were used instead of those that `model` holds: the value of `--ema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ema: Option<String>,
    /// The file of x_T; absent if x_T is drawn from the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latents: Option<PathBuf>,
    /// The classes that the images take in turn; absent for a model without classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) classes: Vec<String>,
    /// The file of the weights of the model that guides, and its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) guide: Option<GuideProvenance>,
    /// The images that are edited or interpolated, and how; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) edit: Option<EditProvenance>,
    /// Whether the images interpolate between two images.
    pub(crate) interpolates: bool,
    /// The format of the images, and how often their sides are enlarged.
    pub(crate) format: String,
    pub(crate) scale: usize,
}

/// What was done with given images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EditProvenance {
    /// The option: `from`, `variations-of`, `inpaint` or `between`.
    edit: String,
    inputs: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask: Option<PathBuf>,
    /// The value of `--strength`; absent for its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strength: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resamplings_and_jump_length: Option<[u64; 2]>,
}

impl EditProvenance {
    fn new(args: &Args) -> Option<Self> {
        let given = [("from", &args.from), ("variations-of", &args.variations_of), ("inpaint", &args.inpaint)];
        let edit = given.into_iter().find_map(|(name, path)| Some((name, vec![path.clone()?])));
        let (edit, inputs) = edit.or_else(|| Some(("between", args.between.clone()?)))?;
        Some(Self {
            edit: edit.to_owned(),
            inputs,
            mask: args.mask.clone(),
            strength: args.strength,
            resamplings_and_jump_length: args.inpaint.as_ref().map(|_| [args.resamplings, args.jump_length]),
        })
    }
}

/// The model that guides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GuideProvenance {
    model: PathBuf,
    model_sha256: String,
}

impl GuideProvenance {
    /// # Errors
    /// When the file of the model cannot be read.
    pub(crate) fn new(model: &SavedModel) -> anyhow::Result<Self> {
        Ok(Self { model: model.path.clone(), model_sha256: model.sha256()? })
    }
}

/// The provenance of one image; of all images of a sampling if `index` is `None`.
#[derive(Debug, Serialize)]
pub(crate) struct ImageProvenance<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) class: Option<&'a str>,
    #[serde(flatten)]
    pub(crate) sampling: &'a Provenance,
}

impl Provenance {
    /// The provenance of a sampling of `model` with `sampler`, of the classes `classes`.
    ///
    /// # Errors
    /// When the file of the model cannot be read.
    pub(crate) fn new(
        args: &Args,
        model: &SavedModel,
        sampler: &SamplerConfig,
        classes: Option<&ChosenClasses>,
        guide: Option<GuideProvenance>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            software: format!("ddpm-sample {}", env!("CARGO_PKG_VERSION")),
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            model: model.path.clone(),
            model_sha256: model.sha256()?,
            step: model.step(),
            seed: args.seed,
            sampler: *sampler,
            precision: args.precision.to_string(),
            ema: args.ema.filter(|choice| !choice.is_of(model)).map(|choice| choice.to_string()),
            latents: args.latents.clone(),
            classes: classes.map(|classes| classes.names().to_vec()).unwrap_or_default(),
            guide,
            edit: EditProvenance::new(args),
            interpolates: args.interpolate.is_some(),
            format: args.format.to_string(),
            scale: args.scale as usize,
        })
    }

    /// Whether images of both may be in one directory: they differ in nothing but the command that selects them.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let comparable = |of: &Self| Self { command: Vec::new(), model: PathBuf::new(), ..of.clone() };
        comparable(self) == comparable(other)
    }
}
