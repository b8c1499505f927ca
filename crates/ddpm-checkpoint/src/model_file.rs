//! Model files: safetensors files with a description of their network in the metadata.

use std::io::Read;
use std::path::Path;

use crate::atomic_file::replace_file;
use crate::error::{CheckpointError, Result};
use crate::model_description::ModelDescription;
use crate::saved_model::SavedModel;
use crate::tensor_file::{Tensors, open, read_stream, write_stream};

/// Writes a model file atomically.
///
/// The file is a safetensors file of f32 tensors, sorted by name, with the description as JSON under the metadata key
/// `ddpm`. The same model always gives the same bytes.
///
/// # Errors
/// [`CheckpointError::WrongType`] and [`CheckpointError::NotFinite`] for a tensor that is not f32 or not finite;
/// [`CheckpointError::WrongField`]; [`CheckpointError::TooLarge`]; [`CheckpointError::Io`]. A previous file at `path`
/// is then unchanged.
pub fn write_model(path: impl AsRef<Path>, description: &ModelDescription, tensors: &Tensors) -> Result<()> {
    let path = path.as_ref();
    let json = description.to_json(path)?;
    replace_file(path, |out| write_stream(out, Some(json), tensors, path))
}

/// Reads a model file.
///
/// # Errors
/// [`CheckpointError::NoDescription`] for a safetensors file without the metadata key `ddpm`, whose tensors
/// [`read_tensors`](crate::read_tensors) returns; [`CheckpointError::NewerFormat`]; [`CheckpointError::WrongField`];
/// the errors of [`read_tensors`](crate::read_tensors).
pub fn read_model(path: impl AsRef<Path>) -> Result<SavedModel> {
    let path = path.as_ref();
    let (mut reader, length) = open(path)?;
    read_model_stream(&mut reader, length, path)
}

/// Like [`read_model`], from an open file of `length` bytes.
pub(crate) fn read_model_stream(reader: &mut dyn Read, length: u64, path: &Path) -> Result<SavedModel> {
    let (description, tensors) = read_stream(reader, length, path)?;
    let json = description.ok_or_else(|| CheckpointError::NoDescription { path: path.to_owned() })?;
    let description = ModelDescription::from_json(&json, path)?;
    Ok(SavedModel { description, tensors, path: path.to_owned(), network_path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Tensor};
    use ddpm_schedule::Prediction;

    use super::*;
    use crate::tensor_file::{read_tensors, write_tensors};

    fn parts() -> (ModelDescription, Tensors) {
        let description =
            ModelDescription::new(&"net", &"linear", Prediction::Epsilon, &"beta", 3, [8, 8], 500).expect("valid");
        let tensor = Tensor::new(&[1.0_f32, 2.0], &Device::Cpu).expect("room");
        (description, BTreeMap::from([("w".to_owned(), tensor)]))
    }

    #[test]
    fn a_model_file_describes_itself_and_is_reproducible() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (description, tensors) = parts();
        let at = |name: &str| dir.path().join(name);
        write_model(at("a"), &description, &tensors).expect("room");
        write_model(at("b"), &description, &tensors).expect("room");
        assert_eq!(std::fs::read(at("a")).expect("valid"), std::fs::read(at("b")).expect("valid"));
        let model = read_model(at("a")).expect("valid");
        assert_eq!((model.step(), &model.description), (500, &description));
        assert_eq!(model.network::<String>().expect("a string"), "net");
        assert!(model.diffusion::<u8>().expect_err("a string").to_string().contains("`diffusion`"));
        let expected = BTreeMap::from([("w".to_owned(), vec![2])]);
        model.check_names(&expected).expect("they fit");
    }

    #[test]
    fn a_file_without_description_is_not_a_model() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("plain.safetensors");
        write_tensors(&path, &parts().1).expect("room");
        assert_eq!(read_tensors(&path).expect("valid").len(), 1);
        let error = read_model(&path).expect_err("no description");
        assert!(matches!(error, CheckpointError::NoDescription { .. }), "{error}");
    }
}
