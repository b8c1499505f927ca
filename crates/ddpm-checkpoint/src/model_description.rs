//! The description of a model, which its file contains.

use std::path::Path;

use ddpm_schedule::Prediction;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{CheckpointError, Result};
use crate::versioned_json::{self, FORMAT_VERSION};

/// The largest description that is read or written, in bytes.
pub(crate) const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

/// Everything that sampling needs to know about a model besides its weights.
///
/// The configurations of the network, the noise schedule and the default sampler are types of other crates. They are
/// stored as plain data here; [`network`](Self::network), [`diffusion`](Self::diffusion) and [`sampler`](Self::sampler)
/// convert them back to their types. A change of the fields of this struct needs a new `format_version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// The version of the format: 1.
    pub format_version: u32,
    /// The version of the library that wrote the description.
    pub library_version: String,
    /// The configuration of the network.
    pub network: Value,
    /// The configuration of the noise schedule.
    pub diffusion: Value,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The configuration of the default sampler.
    pub sampler: Value,
    /// The number of channels of an image, at least 1.
    pub channels: usize,
    /// The height and width of an image in pixels, each at least 1.
    pub image_size: [usize; 2],
    /// The smallest and the largest pixel value of the data that the network was trained on.
    pub data_range: [f32; 2],
    /// The number of optimizer steps that were taken before the weights were saved.
    pub training_step: u64,
    /// The classes that predictions are conditioned on, in the order of their labels; empty if there are none. If the
    /// network has more class embeddings, the one after the last class stands for no class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassDescription>,
    /// How training images got the size of the network, for images that are edited. Absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_preparation: Option<Value>,
    /// The decay of the exponential moving average that the weights are. Absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
}

/// A class of a class-conditional model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassDescription {
    /// The name.
    pub name: String,
    /// The number of training images of the class; 0 if it is not known.
    pub images: usize,
}

impl ModelDescription {
    /// Describes a network for data in [−1, 1]. `image_size` is height and width.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] if a configuration has no representation in JSON (for example a map whose keys
    /// are not strings), or if the number of channels or pixels is zero.
    pub fn new(
        network: &impl Serialize,
        diffusion: &impl Serialize,
        prediction: Prediction,
        sampler: &impl Serialize,
        channels: usize,
        image_size: [usize; 2],
        training_step: u64,
    ) -> Result<Self> {
        let path = Path::new("model description");
        let description = Self {
            format_version: FORMAT_VERSION,
            library_version: env!("CARGO_PKG_VERSION").to_owned(),
            network: to_value(network, "network", path)?,
            diffusion: to_value(diffusion, "diffusion", path)?,
            prediction,
            sampler: to_value(sampler, "sampler", path)?,
            channels,
            image_size,
            data_range: [-1.0, 1.0],
            training_step,
            classes: Vec::new(),
            image_preparation: None,
            ema_decay: None,
        };
        description.validate(path)?;
        Ok(description)
    }

    /// The same description with the classes of a class-conditional network.
    pub fn with_classes(self, classes: Vec<ClassDescription>) -> Self {
        Self { classes, ..self }
    }

    /// The same description with the configuration of how training images got the size of the network.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] if it has no representation in JSON.
    pub fn with_image_preparation(self, preparation: &impl Serialize) -> Result<Self> {
        let preparation = to_value(preparation, "image_preparation", Path::new("model description"))?;
        Ok(Self { image_preparation: Some(preparation), ..self })
    }

    /// The same description of weights that are an exponential moving average of this decay.
    pub fn with_ema_decay(self, decay: f64) -> Self {
        Self { ema_decay: Some(decay), ..self }
    }

    /// Converts the configuration of how training images got the size of the network back to its type; its default if
    /// it is not known. `file` is the file of the description, for the error.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming `file` and `image_preparation`.
    pub fn image_preparation<T: DeserializeOwned + Default>(&self, file: &Path) -> Result<T> {
        let stored = self.image_preparation.as_ref();
        stored.map_or_else(|| Ok(T::default()), |value| from_value(value, "image_preparation", file))
    }

    /// Converts the configuration of the network back to its type. `file` is the file of the description, for the
    /// error.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming `file` and `network`.
    pub fn network<T: DeserializeOwned>(&self, file: &Path) -> Result<T> {
        from_value(&self.network, "network", file)
    }

    /// Converts the configuration of the noise schedule back to its type. `file` is the file of the description, for
    /// the error.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming `file` and `diffusion`.
    pub fn diffusion<T: DeserializeOwned>(&self, file: &Path) -> Result<T> {
        from_value(&self.diffusion, "diffusion", file)
    }

    /// Converts the configuration of the default sampler back to its type. `file` is the file of the description, for
    /// the error.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming `file` and `sampler`.
    pub fn sampler<T: DeserializeOwned>(&self, file: &Path) -> Result<T> {
        from_value(&self.sampler, "sampler", file)
    }

    /// Returns the JSON for the model file `path`, which errors name.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`], [`CheckpointError::TooLarge`].
    pub(crate) fn to_json(&self, path: &Path) -> Result<String> {
        self.validate(path)?;
        let json = to_value(self, "ddpm", path)?.to_string();
        versioned_json::check_size(json.len(), "model description", MAX_DESCRIPTION_BYTES, path)?;
        Ok(json)
    }

    /// Parses the JSON of the model file `path`, which errors name.
    ///
    /// # Errors
    /// [`CheckpointError::TooLarge`], [`CheckpointError::NewerFormat`], [`CheckpointError::Damaged`],
    /// [`CheckpointError::WrongField`].
    pub(crate) fn from_json(json: &str, path: &Path) -> Result<Self> {
        versioned_json::check_size(json.len(), "model description", MAX_DESCRIPTION_BYTES, path)?;
        let description: Self = versioned_json::parse(json.as_bytes(), "model description", path)?;
        description.validate(path)?;
        Ok(description)
    }

    fn validate(&self, path: &Path) -> Result<()> {
        let wrong = |field: &'static str, problem| {
            Err(CheckpointError::WrongField { path: path.to_owned(), field: field.into(), problem })
        };
        let [low, high] = self.data_range;
        if self.format_version != FORMAT_VERSION {
            return wrong("format_version", format!("expected {FORMAT_VERSION}, found {}", self.format_version));
        }
        if self.channels == 0 {
            return wrong("channels", "expected at least 1, found 0".to_owned());
        }
        if self.image_size.contains(&0) {
            return wrong("image_size", format!("expected at least 1 pixel per side, found {:?}", self.image_size));
        }
        if !(low.is_finite() && high.is_finite() && low < high) {
            return wrong(
                "data_range",
                format!("expected two finite numbers in increasing order, found [{low}, {high}]"),
            );
        }
        Ok(())
    }
}

fn to_value(data: &impl Serialize, field: &'static str, path: &Path) -> Result<Value> {
    serde_json::to_value(data).map_err(|error| wrong_field(path, field, &error))
}

fn from_value<T: DeserializeOwned>(value: &Value, field: &'static str, path: &Path) -> Result<T> {
    T::deserialize(value).map_err(|error| wrong_field(path, field, &error))
}

fn wrong_field(path: &Path, field: &'static str, error: &serde_json::Error) -> CheckpointError {
    CheckpointError::WrongField { path: path.to_owned(), field: field.into(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Network {
        base_channels: usize,
    }

    fn description() -> ModelDescription {
        ModelDescription::new(&Network { base_channels: 32 }, &(0.1 + 0.2), Prediction::V, &"beta", 1, [8, 6], 7)
            .expect("valid")
    }

    #[test]
    fn configurations_keep_their_types_and_values() {
        let path = Path::new("m.safetensors");
        let json = description().to_json(path).expect("valid");
        let read = ModelDescription::from_json(&json, path).expect("valid");
        assert_eq!(read, description());
        assert_eq!(read.network::<Network>(path).expect("a network"), Network { base_channels: 32 });
        // 0.1 + 0.2 has 17 significant digits and must be read back without rounding.
        assert_eq!(read.diffusion::<f64>(path).expect("a number").to_bits(), (0.1 + 0.2_f64).to_bits());
        assert_eq!(read.sampler::<String>(path).expect("a string"), "beta");
    }

    #[test]
    fn errors_name_file_and_field() {
        let error = description().network::<usize>(Path::new("m.safetensors")).expect_err("it is a map");
        assert!(error.to_string().starts_with("m.safetensors: field `network`: invalid type: map"), "{error}");
    }

    fn check(edit: impl FnOnce(&mut Value), expected: &str) {
        let mut value = serde_json::to_value(description()).expect("plain data");
        edit(&mut value);
        let read = ModelDescription::from_json(&value.to_string(), Path::new("m"));
        let message = read.expect_err("not valid").to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn invalid_fields_are_named() {
        check(|v| v["channels"] = 0.into(), "field `channels`");
        check(|v| v["channels"] = (-1).into(), "invalid value: integer `-1`");
        check(|v| v["image_size"] = vec![0, 1].into(), "field `image_size`");
        check(|v| v["data_range"] = vec![1, -1].into(), "field `data_range`");
        check(|v| v["prediction"] = "w".into(), "unknown variant `w`");
        check(|v| v["extra"] = 1.into(), "unknown field `extra`");
        check(|v| v["format_version"] = 2.into(), "format version 2");
        check(|v| v["network"] = "x".repeat(1 << 20).into(), "more than the 1048576 allowed");
    }
}
