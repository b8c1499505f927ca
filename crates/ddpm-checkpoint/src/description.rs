//! What a model file says about itself.

use std::path::Path;

use ddpm_schedule::Prediction;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{CheckpointError, Result};
use crate::versioned_json::{self, FORMAT_VERSION};

/// The largest description that is read or written.
pub(crate) const MAX_DESCRIPTION_BYTES: u64 = 1 << 20;

/// Everything that sampling needs to know of a model besides its weights: enough that the file needs no other word.
///
/// The configurations of the network, of the diffusion and of the default sampler belong to other crates; here they
/// are plain data, typed again by [`network`](Self::network), [`diffusion`](Self::diffusion) and
/// [`sampler`](Self::sampler). Any change of the fields raises `format_version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// The version of this form: 1.
    pub format_version: u32,
    /// The version of the library that wrote the file.
    pub library_version: String,
    /// The network's configuration.
    pub network: Value,
    /// The noise schedule's configuration.
    pub diffusion: Value,
    /// What the network predicts.
    pub prediction: Prediction,
    /// How it is sampled when nobody says otherwise.
    pub sampler: Value,
    /// Image channels: at least 1.
    pub channels: usize,
    /// Image height and width in pixels: at least 1 each.
    pub image_size: [usize; 2],
    /// The least and the greatest value of a pixel of the data, as the network sees it.
    pub data_range: [f32; 2],
    /// Optimiser steps taken before these weights were saved.
    pub training_step: u64,
}

impl ModelDescription {
    /// A description in the present format by this library, of a network for data in [−1, 1].
    ///
    /// `network`, `diffusion` and `sampler` are the other crates' plain data. `image_size` is height and width.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] when one of them has no form in JSON (a map with keys that are no strings), or
    /// a number of channels or pixels is zero.
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
        };
        description.validate(path)?;
        Ok(description)
    }

    /// The network's configuration as the type that it was. `file` is where the description comes from, for the error.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming `file` and `network`.
    pub fn network<T: DeserializeOwned>(&self, file: &Path) -> Result<T> {
        from_value(&self.network, "network", file)
    }

    /// The schedule's configuration as the type that it was. `file` is where the description comes from, for the error.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming `file` and `diffusion`.
    pub fn diffusion<T: DeserializeOwned>(&self, file: &Path) -> Result<T> {
        from_value(&self.diffusion, "diffusion", file)
    }

    /// The default sampler as the type that it was. `file` is where the description comes from, for the error.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming `file` and `sampler`.
    pub fn sampler<T: DeserializeOwned>(&self, file: &Path) -> Result<T> {
        from_value(&self.sampler, "sampler", file)
    }

    /// The JSON that goes into a model file. Errors show `path`.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`], [`CheckpointError::TooLarge`].
    pub(crate) fn to_json(&self, path: &Path) -> Result<String> {
        self.validate(path)?;
        let json = to_value(self, "ddpm", path)?.to_string();
        versioned_json::check_size(json.len(), "model description", MAX_DESCRIPTION_BYTES, path)?;
        Ok(json)
    }

    /// Reads the JSON out of a model file. Errors show `path`.
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
            return wrong("image_size", format!("expected at least 1 pixel a side, found {:?}", self.image_size));
        }
        if !(low.is_finite() && high.is_finite() && low < high) {
            return wrong("data_range", format!("expected two finite numbers, rising, found [{low}, {high}]"));
        }
        Ok(())
    }
}

fn to_value(plain: &impl Serialize, field: &'static str, path: &Path) -> Result<Value> {
    serde_json::to_value(plain).map_err(|error| wrong_field(path, field, &error))
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
    fn configurations_come_back_as_what_they_were() {
        let path = Path::new("m.safetensors");
        let json = description().to_json(path).expect("valid");
        let read = ModelDescription::from_json(&json, path).expect("valid");
        assert_eq!(read, description());
        assert_eq!(read.network::<Network>(path).expect("a network"), Network { base_channels: 32 });
        // 0.1 + 0.2 has 17 digits: the very bits return.
        assert_eq!(read.diffusion::<f64>(path).expect("a number").to_bits(), (0.1 + 0.2_f64).to_bits());
        assert_eq!(read.sampler::<String>(path).expect("a word"), "beta");
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
    fn bad_fields_are_named() {
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
