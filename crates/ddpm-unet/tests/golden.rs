//! Outputs and gradients of `NoiseNet` equal PyTorch's on the same weights, and parameter counts those of the
//! article's code.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use ddpm_ops::{AdamStep, AdamUpdate, Gradient, adam_step};
use ddpm_rng::{Purpose, Stream};
use ddpm_testkit::{Golden, assert_close, assert_gradients, golden_names};
use ddpm_unet::{ImageSize, NoiseNet, NoiseNetConfig};

/// The golden values are computed in f64, so the difference is the rounding of f32 arithmetic. A wrong epsilon, a
/// swapped sine and cosine or a missing bias causes a difference of at least 1e-3.
const TOLERANCE: f64 = 1e-4;

fn network(golden: &Golden) -> (NoiseNet, BTreeMap<String, Var>) {
    let config: NoiseNetConfig = serde_json::from_str(&golden.config).unwrap();
    let vars: BTreeMap<String, Var> = golden
        .with_prefix("param.")
        .into_iter()
        .map(|(name, tensor)| (name, Var::from_tensor(&tensor).unwrap()))
        .collect();
    let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    (NoiseNet::from_tensors(&config, &weights).unwrap(), vars)
}

#[test]
fn forward_equals_pytorch() {
    let names = golden_names("noise_net");
    assert!(names.len() >= 6, "golden files: {names:?}");
    for name in names {
        let golden = Golden::load(&name);
        let (network, _) = network(&golden);
        let eps_hat = network.forward(golden.get("x"), golden.get("t"), None).unwrap();
        assert_close(&format!("{name}: eps_hat"), &eps_hat, golden.get("eps_hat"), TOLERANCE);
    }
}

#[test]
fn every_gradient_equals_pytorch() {
    for name in golden_names("noise_net") {
        let golden = Golden::load(&name);
        let (network, vars) = network(&golden);
        let x = Var::from_tensor(golden.get("x")).unwrap();
        let eps_hat = network.forward(x.as_tensor(), golden.get("t"), None).unwrap();
        let loss = (&eps_hat - golden.get("eps")).and_then(|difference| difference.sqr()?.mean_all()).unwrap();
        assert_close(&format!("{name}: loss"), &loss, &golden.get("loss").reshape(()).unwrap(), TOLERANCE);
        let grads = loss.backward().unwrap();
        assert_gradients(&name, &golden, TOLERANCE, |parameter| {
            grads.get(vars[parameter].as_tensor()).unwrap().clone()
        });
        assert_close(
            &format!("{name}: gradient of x"),
            grads.get(x.as_tensor()).unwrap(),
            golden.get("grad_x"),
            TOLERANCE,
        );
    }
}

/// Training uses the backward pass of the record rather than candle's, and sums gradients over batches.
#[test]
fn every_gradient_in_training_equals_pytorch() {
    for name in golden_names("noise_net") {
        let golden = Golden::load(&name);
        let (network, vars) = network(&golden);
        let gradients = || {
            let mut dropout = Stream::new(0, Purpose::Dropout, 0);
            let eps_hat = network.forward_train(golden.get("x"), golden.get("t"), None, &mut dropout).unwrap();
            let error = (eps_hat.output() - golden.get("eps")).unwrap();
            // The derivative of the mean of the squared errors.
            eps_hat.backward(&(&error * (2.0 / error.elem_count() as f64)).unwrap()).unwrap()
        };
        let mut once = gradients();
        assert_gradients(&name, &golden, TOLERANCE, |parameter| {
            let parameter = &vars[parameter];
            values(&once.take(parameter.as_tensor()).unwrap(), parameter, 1.0)
        });
        assert!(vars.values().all(|parameter| once.take(parameter.as_tensor()).is_none()), "{name}: taken twice");
        let (mut first, mut second) = (gradients(), gradients());
        assert_gradients(&format!("{name}, the mean of two"), &golden, TOLERANCE, |parameter| {
            let parameter = &vars[parameter];
            let mut sum = first.take(parameter.as_tensor()).unwrap();
            sum.add(&second.take(parameter.as_tensor()).unwrap()).unwrap();
            values(&sum, parameter, 0.5)
        });
    }
}

/// `scale` times a gradient as a tensor: the first moment of Adam if its decay rate is 0.
fn values(gradient: &Gradient, parameter: &Var, scale: f64) -> Tensor {
    let zeros = || Var::from_tensor(&parameter.zeros_like().unwrap()).unwrap();
    let (parameter, moment1, moment2) = (zeros(), zeros(), zeros());
    let update = AdamUpdate { parameter: &parameter, moment1: &moment1, moment2: &moment2, gradient };
    let step = AdamStep {
        beta1: 0.0,
        beta2: 0.999,
        epsilon: 1e-8,
        learning_rate: 0.0,
        bias_correction1: 1.0,
        bias_correction2: 1.0,
        gradient_scale: scale,
        coupled_weight_decay: 0.0,
        decoupled_weight_decay: 0.0,
    };
    adam_step(&[update], step).unwrap();
    moment1.as_tensor().clone()
}

#[test]
fn parameter_counts_are_those_of_the_articles_code() {
    let article = NoiseNetConfig::article();
    let config = |channels, side, base_channels, multipliers: &[usize]| NoiseNetConfig {
        channels,
        image_size: ImageSize::square(side),
        base_channels,
        channel_multipliers: multipliers.to_vec(),
        ..NoiseNetConfig::article()
    };
    assert_eq!(NoiseNet::parameter_count(&article).unwrap(), 132_864_579);
    assert_eq!(NoiseNet::parameter_count(&config(3, 32, 64, &[1, 2, 4, 8])).unwrap(), 34_295_811);
    assert_eq!(NoiseNet::parameter_count(&config(1, 32, 32, &[1, 2, 4])).unwrap(), 2_380_161);
    assert_eq!(NoiseNet::parameter_count(&config(1, 8, 32, &[1, 2])).unwrap(), 698_209);
}

#[test]
fn names_are_the_articles_module_paths() {
    let mut config = NoiseNetConfig { channel_multipliers: vec![1, 2], ..NoiseNetConfig::article() };
    config.image_size = ImageSize::square(16);
    let parameters = NoiseNet::parameters(&config).unwrap();
    for name in [
        "time_embedding.1.weight",
        "time_embedding.3.bias",
        "input_conv.weight",
        "downs.0.block1.time_fc.weight",
        "downs.0.block1.conv1.norm.weight",
        "downs.0.block1.conv1.conv.weight",
        "ups.0.block1.conv_res.weight",
        "downs.0.attn.norm.weight",
        "downs.0.attn.to_qkv.weight",
        "downs.0.attn.to_out.bias",
        "downs.0.ds.model.1.weight",
        "downs.1.ds.weight",
        "mid.conv1.time_fc.bias",
        "mid.attn.to_qkv.weight",
        "mid.conv2.conv2.conv.bias",
        "ups.0.us.model.1.weight",
        "ups.1.us.weight",
        "output_res.conv_res.weight",
        "output_conv.weight",
    ] {
        assert!(parameters.contains_key(name), "{name}");
    }
    assert!(!parameters.contains_key("downs.0.attn.to_qkv.bias"));
}

#[test]
fn f64_agrees_more_closely() {
    let golden = Golden::load(&golden_names("noise_net")[0]);
    let config: NoiseNetConfig = serde_json::from_str(&golden.config).unwrap();
    let weights = golden.with_prefix("param.").into_iter().map(|(n, t)| (n, t.to_dtype(DType::F64).unwrap())).collect();
    let network = NoiseNet::from_tensors(&config, &weights).unwrap();
    let eps_hat = network
        .forward(&golden.get("x").to_dtype(DType::F64).unwrap(), &golden.get("t").to_dtype(DType::F64).unwrap(), None)
        .unwrap();
    // The golden file stores f32, with a relative rounding error of 6e-8.
    assert_close("eps_hat in f64", &eps_hat, golden.get("eps_hat"), 2e-7);
}
