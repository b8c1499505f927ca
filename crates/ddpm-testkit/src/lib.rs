//! Golden files, weights of a formula, comparisons with tolerances, and a fake Hugging Face Hub for the tests of this
//! workspace. For development only.
//!
//! This crate reads `tests/golden/*.safetensors` and defines equality within a tolerance for all tests. Its functions
//! panic on failure, because every caller is a test.

mod efficientnet_weights;
mod fake_hub;
mod formula_weights;
mod fuzz;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

pub use efficientnet_weights::efficientnet_lite0_weights;
pub use fake_hub::{FakeHub, Fault, TOKEN};
pub use formula_weights::{formula_images, formula_tensor};
pub use fuzz::fuzz;

/// A golden file: its tensors, and the value of its metadata key `config` if there is one.
#[derive(Debug)]
pub struct Golden {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// JSON; empty if the file has no configuration.
    pub config: String,
}

impl Golden {
    /// Reads `tests/golden/<name>.safetensors`.
    ///
    /// # Panics
    /// If the file does not exist or is corrupt.
    pub fn load(name: &str) -> Self {
        let path = directory().join(name).with_extension("safetensors");
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let config = header.metadata().as_ref().and_then(|m| m.get("config")).cloned().unwrap_or_default();
        let tensors = candle_core::safetensors::load_buffer(&bytes, &device())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { tensors: tensors.into_iter().collect(), config }
    }

    /// The tensor with this name.
    ///
    /// # Panics
    /// If it does not exist.
    pub fn get(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name} among {:?}", self.tensors.keys()))
    }

    /// The tensors whose names start with `prefix`, by the rest of their names.
    pub fn with_prefix(&self, prefix: &str) -> BTreeMap<String, Tensor> {
        self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_string(), t.clone()))).collect()
    }
}

/// The device for the tests: the one that the environment variable `DDPM_TEST_DEVICE` names (`cpu` or `cuda:N`), by
/// default the CPU. A GPU is opened as the programs open it.
///
/// # Panics
/// If the device does not exist.
pub fn device() -> Device {
    static DEVICE: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    let open = || match std::env::var("DDPM_TEST_DEVICE").ok().as_deref() {
        None | Some("" | "cpu") => Device::Cpu,
        Some(name) => {
            let number = name.strip_prefix("cuda:").and_then(|number| number.parse().ok());
            let number = number.unwrap_or_else(|| panic!("DDPM_TEST_DEVICE: expected cpu or cuda:N, found {name}"));
            ddpm_ops::open_gpu(number).unwrap_or_else(|error| panic!("DDPM_TEST_DEVICE={name}: {error}"))
        }
    };
    DEVICE.get_or_init(open).clone()
}

/// The names without extension of all golden files in a folder of `tests/golden`, sorted.
///
/// # Panics
/// If the folder cannot be read.
pub fn golden_names(folder: &str) -> Vec<String> {
    let directory = directory().join(folder);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("a readable directory entry").path());
    let stem = |path: PathBuf| Some(format!("{folder}/{}", path.file_stem()?.to_str()?));
    let mut names: Vec<String> =
        paths.filter(|p| p.extension().is_some_and(|e| e == "safetensors")).filter_map(stem).collect();
    names.sort();
    names
}

/// `tests/golden`, or the directory that `DDPM_TEST_GOLDEN` names, for tests that were built on another machine.
fn directory() -> PathBuf {
    if let Some(directory) = std::env::var_os("DDPM_TEST_GOLDEN") {
        return directory.into();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// Compares the gradient of every parameter with the golden gradient of the same name.
///
/// The gradient of a bias before a group normalization with one channel per group consists of rounding errors only.
/// Therefore errors are relative to the largest gradient of the network if the gradient of the tensor is smaller than a
/// thousandth of it.
///
/// # Panics
/// If an error exceeds `tolerance`.
pub fn assert_gradients(name: &str, golden: &Golden, tolerance: f64, mut gradient: impl FnMut(&str) -> Tensor) {
    let expected = golden.with_prefix("grad.");
    let scale = |t: &Tensor| {
        let largest = t.abs().and_then(|t| t.flatten_all()).and_then(|t| t.max(0)).and_then(|t| t.to_scalar::<f32>());
        f64::from(largest.expect("f32 values"))
    };
    let largest = expected.values().map(scale).fold(0.0, f64::max);
    assert!(largest > 0.0, "{name}: no gradients");
    for (parameter, expected) in &expected {
        let tolerance = tolerance * (1e-3 * largest / scale(expected).max(1e-30)).max(1.0);
        assert_close(&format!("{name}: gradient of {parameter}"), &gradient(parameter), expected, tolerance);
    }
}

/// The largest absolute difference between two tensors, relative to the largest absolute value of `expected`. Elements
/// near zero do not increase it.
///
/// # Panics
/// If the shapes differ or a value is not finite.
pub fn relative_error(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.dims(), expected.dims(), "shapes differ");
    let values = |t: &Tensor| -> Vec<f64> {
        let t = t.to_dtype(candle_core::DType::F64).and_then(|t| t.flatten_all()).expect("a dense tensor");
        t.to_vec1().expect("f64 values")
    };
    let (actual, expected) = (values(actual), values(expected));
    assert!(actual.iter().chain(&expected).all(|v| v.is_finite()), "a value is not finite");
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let difference = actual.iter().zip(&expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    if largest == 0.0 { difference } else { difference / largest }
}

/// Asserts that [`relative_error`] is at most `tolerance`.
///
/// # Panics
/// If the error is larger. `what` names the tensor in the message.
pub fn assert_close(what: &str, actual: &Tensor, expected: &Tensor, tolerance: f64) {
    let error = relative_error(actual, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.3e} exceeds {tolerance:.1e}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest_expected_value() {
        let tensor = |v: [f32; 3]| Tensor::new(&v, &Device::Cpu).expect("a tensor");
        assert_eq!(relative_error(&tensor([1.0, 2.0, 4.5]), &tensor([1.0, 2.0, 4.0])), 0.125);
        assert_eq!(relative_error(&tensor([0.0; 3]), &tensor([0.0; 3])), 0.0);
    }

    #[test]
    #[should_panic(expected = "exceeds")]
    fn a_difference_fails() {
        let one = Tensor::ones(1, candle_core::DType::F32, &Device::Cpu).expect("a tensor");
        assert_close("x", &(&one + 0.1).expect("a tensor"), &one, 1e-3);
    }
}

/// Compiles the example of the README as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
