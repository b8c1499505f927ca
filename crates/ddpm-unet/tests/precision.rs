//! The networks in bf16 against their golden values: as near as eight bits of each product allow, and gradients of the same
//! direction.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use ddpm_testkit::{Golden, golden_names};
use ddpm_unet::{NoiseNet, NoiseNetConfig, Precision, UNet2d, UNet2dConfig};

/// A rounding to bf16 is an error of up to 2⁻⁹; a few dozen of them lie between input and output.
const OF_OUTPUT: f64 = 3e-2;
/// 1 − cosine of the angle between the gradient of all parameters and the golden one.
const OF_DIRECTION: f64 = 2e-3;

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
    // And not as near as f32 is: it has been computed in bf16.
    assert!((1e-4..OF_OUTPUT).contains(&error), "{name}: relative error {error:.2e}");

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
    assert!(1.0 - cosine < OF_DIRECTION, "{name}: cosine {cosine}");
}

#[test]
fn bf16_predicts_what_f32_does() {
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
