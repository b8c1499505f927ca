//! Adam, AdamW and clipping against PyTorch's own.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use ddpm_testkit::{Golden, assert_close};
use ddpm_trainer::{Adam, AdamConfig, Optimizer, clip_scale, global_norm};

/// The golden file was computed in f64. In f32 each of ten steps adds a relative error of about 1e-7.
const TOLERANCE: f64 = 1e-6;

#[test]
fn ten_steps_equal_pytorch() {
    let golden = Golden::load("adam");
    for (name, optimizer, weight_decay) in
        [("adam", Optimizer::Adam, 0.0), ("adam_decay", Optimizer::Adam, 0.01), ("adamw", Optimizer::AdamW, 0.01)]
    {
        let parameters = BTreeMap::from([("w".to_string(), Var::from_tensor(golden.get("start")).unwrap())]);
        let config = AdamConfig { optimizer, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay };
        let mut adam = Adam::new(config, &parameters).unwrap();
        for step in 0..10 {
            let gradient = golden.get("gradients").get(step).unwrap();
            adam.update(&parameters, &BTreeMap::from([("w".into(), gradient.into())]), 1e-2, 1.0).unwrap();
            let expected = golden.get(name).get(step).unwrap();
            assert_close(&format!("{name}, step {step}"), parameters["w"].as_tensor(), &expected, TOLERANCE);
        }
    }
}

#[test]
fn clipping_equals_pytorch() {
    let golden = Golden::load("adam");
    let gradient = golden.get("gradients").get(0).unwrap();
    let norm = global_norm(&BTreeMap::from([("w".into(), gradient.clone().into())])).unwrap();
    assert_close("norm", &Tensor::new(&[norm], gradient.device()).unwrap(), golden.get("norm"), TOLERANCE);
    for (name, max_norm) in [("clip_1", 1.0), ("clip_100", 100.0)] {
        let clipped = (&gradient * clip_scale(norm, Some(max_norm))).unwrap();
        assert_close(name, &clipped, golden.get(name), TOLERANCE);
    }
    assert_eq!(clip_scale(1e9, None), 1.0);
}

/// Clipping is part of the update; the result is that of clipping the gradient first.
#[test]
fn the_gradient_scale_is_a_scaled_gradient() {
    let golden = Golden::load("adam");
    let gradient = golden.get("gradients").get(0).unwrap();
    for (optimizer, weight_decay) in [(Optimizer::Adam, 0.0), (Optimizer::Adam, 0.1), (Optimizer::AdamW, 0.1)] {
        let run = |gradient: &Tensor, scale: f64| {
            let parameters = BTreeMap::from([("w".to_string(), Var::from_tensor(golden.get("start")).unwrap())]);
            let config = AdamConfig { optimizer, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay };
            let mut adam = Adam::new(config, &parameters).unwrap();
            adam.update(&parameters, &BTreeMap::from([("w".into(), gradient.clone().into())]), 1e-2, scale).unwrap();
            adam.state()["adam.second.w"].clone()
        };
        assert_close("second moment", &run(&gradient, 0.25), &run(&(&gradient * 0.25).unwrap(), 1.0), TOLERANCE);
    }
}
