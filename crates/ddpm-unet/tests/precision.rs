//! Networks in bf16 agree with their golden values up to the rounding of bf16, in outputs and in the direction of
//! gradients.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use ddpm_testkit::{Golden, golden_names};
use ddpm_unet::{NoiseNet, NoiseNetConfig, Precision, UNet2d, UNet2dConfig};

/// Largest relative error of the output: a rounding to bf16 has a relative error of up to 2⁻⁹, and a few dozen
/// roundings lie between input and output.
const OUTPUT_TOLERANCE: f64 = 3e-2;
/// Largest 1 − cosine of the angle between the gradient of all parameters and the golden gradient.
const DIRECTION_TOLERANCE: f64 = 2e-3;

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn check(name: &str, predict: impl Fn(&Golden, &BTreeMap<String, Tensor>) -> Tensor) {
    let golden = Golden::load(name);
    let parameters = golden.with_prefix("param.");
    let vars: BTreeMap<&str, Var> =
        parameters.iter().map(|(name, tensor)| (name.as_str(), Var::from_tensor(tensor).unwrap())).collect();
    let weights = vars.iter().map(|(name, var)| ((*name).to_owned(), var.as_tensor().clone())).collect();
    let out = predict(&golden, &weights);
    assert_eq!(out.dtype(), DType::F32);
    let (found, expected) = (numbers(&out), numbers(golden.get("eps_hat")));
    let difference: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
    let error = (dot(&difference, &difference) / dot(&expected, &expected)).sqrt();
    // An error as small as that of f32 would mean that the network did not compute in bf16.
    assert!((1e-4..OUTPUT_TOLERANCE).contains(&error), "{name}: relative error {error:.2e}");

    let loss = (&out - golden.get("eps")).and_then(|difference| difference.sqr()?.mean_all()).unwrap();
    let gradients = loss.backward().unwrap();
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for (parameter, var) in &vars {
        let gradient = gradients.get(var.as_tensor()).unwrap();
        assert_eq!(gradient.dtype(), DType::F32);
        found.extend(numbers(gradient));
        expected.extend(numbers(golden.get(&format!("grad.{parameter}"))));
    }
    let cosine = dot(&found, &expected) / (dot(&found, &found) * dot(&expected, &expected)).sqrt();
    assert!(1.0 - cosine < DIRECTION_TOLERANCE, "{name}: cosine {cosine}");
}

#[test]
fn bf16_agrees_with_the_golden_values() {
    for name in golden_names("noise_net") {
        check(&name, |golden, weights| {
            let config: NoiseNetConfig = serde_json::from_str(&golden.config).unwrap();
            let network = NoiseNet::from_tensors(&config, weights).unwrap().with_precision(Precision::Bf16);
            network.forward(golden.get("x"), golden.get("t"), None).unwrap()
        });
    }
    for name in golden_names("unet2d") {
        check(&name, |golden, weights| {
            let config: UNet2dConfig = serde_json::from_str(&golden.config).unwrap();
            let network = UNet2d::from_tensors(&config, weights).unwrap().with_precision(Precision::Bf16);
            network.forward(golden.get("x"), golden.get("t"), golden.tensors.get("classes")).unwrap()
        });
    }
}
