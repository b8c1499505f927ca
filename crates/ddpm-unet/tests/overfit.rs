//! A network overfits one batch.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use ddpm_ops::{AdamStep, AdamUpdate, adam_step};
use ddpm_rng::{Purpose, Stream};
use ddpm_unet::{ImageSize, NoiseNet, NoiseNetConfig};

/// The target is noise that is independent of the input, so the network can only memorize it. A gradient that misses
/// a block or has a wrong sign leaves the loss at the variance of the noise, 1.
#[test]
fn a_network_overfits_one_batch() {
    let config = NoiseNetConfig {
        channels: 1,
        image_size: ImageSize::square(8),
        base_channels: 8,
        channel_multipliers: vec![1, 2],
        attention_resolutions: vec![4],
        attention_heads: 2,
        attention_head_channels: 8,
        ..NoiseNetConfig::article()
    };
    let var = |(name, tensor): (String, Tensor)| (name, Var::from_tensor(&tensor).unwrap());
    let vars: BTreeMap<String, Var> = NoiseNet::initial_weights(&config, 1).unwrap().into_iter().map(var).collect();
    let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let network = NoiseNet::from_tensors(&config, &weights).unwrap();
    let zeros = || -> BTreeMap<&String, Var> {
        vars.iter().map(|(name, var)| (name, Var::from_tensor(&var.zeros_like().unwrap()).unwrap())).collect()
    };
    let (moments1, moments2) = (zeros(), zeros());

    let normal = |position| Stream::new(0, Purpose::Synthetic, position).normal((4, 1, 8, 8), &Device::Cpu).unwrap();
    let (x_t, eps) = (normal(0), normal(1));
    let t = Tensor::new(&[10f32, 300.0, 600.0, 990.0], &Device::Cpu).unwrap();
    let mut losses = Vec::new();
    for step in 1..=400 {
        let eps_hat = network.forward_train(&x_t, &t, None, &mut Stream::new(0, Purpose::Dropout, step)).unwrap();
        let output = eps_hat.output();
        let difference = (output - &eps).unwrap();
        losses.push(difference.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap());
        let output_gradient = (difference * (2.0 / eps.elem_count() as f64)).unwrap();
        let mut gradients = eps_hat.backward(&output_gradient).unwrap();
        let gradients: Vec<_> = vars.values().map(|var| gradients.take(var.as_tensor()).unwrap()).collect();
        let updates: Vec<AdamUpdate<'_>> = vars
            .iter()
            .zip(&gradients)
            .map(|((name, parameter), gradient)| AdamUpdate {
                parameter,
                moment1: &moments1[name],
                moment2: &moments2[name],
                gradient,
            })
            .collect();
        let adam = AdamStep {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            learning_rate: 3e-3,
            bias_correction1: 1.0 - 0.9f64.powi(step as i32),
            bias_correction2: 1.0 - 0.999f64.powi(step as i32),
            gradient_scale: 1.0,
            coupled_weight_decay: 0.0,
            decoupled_weight_decay: 0.0,
        };
        adam_step(&updates, adam).unwrap();
    }
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!((0.7..2.0).contains(&first), "{first}");
    // A hundredth of the variance of the noise is far below any loss without memorization.
    assert!(last < 0.01, "{last}");
}
