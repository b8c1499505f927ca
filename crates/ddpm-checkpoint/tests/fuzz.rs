//! Damaged model files end with tensors or an error. `DDPM_FUZZ_SECONDS` sets the time for each reader.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs;

use candle_core::{Device, Tensor};
use ddpm_checkpoint::{read_metrics, read_tensors, write_tensors};
use ddpm_testkit::fuzz;

#[test]
fn fuzz_safetensors() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.safetensors");
    let tensor = |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([("a".to_owned(), tensor(&[3, 2])), ("b.weight".to_owned(), tensor(&[4]))]);
    write_tensors(&path, &tensors).unwrap();
    let seed = fs::read(&path).unwrap();
    fuzz("safetensors", &[seed], |input| {
        fs::write(&path, input).unwrap();
        drop(read_tensors(&path));
    });
}

#[test]
fn fuzz_metrics() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("metrics.jsonl");
    let seed = b"{\"step\":1,\"loss\":0.5,\"skipped\":false}\n{\"step\":2,\"loss\":null}\n".to_vec();
    fuzz("metrics", &[seed], |input| {
        fs::write(&path, input).unwrap();
        drop(read_metrics::<serde_json::Value>(&path));
    });
}
