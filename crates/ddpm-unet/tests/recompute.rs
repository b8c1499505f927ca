//! Recomputing activations in the backward pass gives the same output, gradients and dropout as saving them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use ddpm_rng::{Purpose, Stream};
use ddpm_testkit::device;
use ddpm_unet::{Network, NetworkConfig, Precision};

fn bits(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The output, the gradient of every parameter, and the next draw of the dropout stream.
fn run(
    config: &NetworkConfig,
    precision: Precision,
    recompute: bool,
) -> (Vec<f32>, BTreeMap<String, Option<Vec<f32>>>, u64) {
    let vars: BTreeMap<String, Var> = config
        .initial_weights(3)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, Var::from_tensor(&tensor.to_device(&device()).unwrap()).unwrap()))
        .collect();
    let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let network = Network::from_tensors(config, &weights).unwrap().with_precision(precision).with_recompute(recompute);
    let x = Stream::new(1, Purpose::Synthetic, 0).normal((2, 3, 8, 8), &device()).unwrap();
    let t = Tensor::new(&[3f32, 700.0], &device()).unwrap();
    let mut dropout = Stream::new(1, Purpose::Dropout, 0);
    let pass = network.forward_train(&x, &t, None, &mut dropout).unwrap();
    let out = bits(&pass.output());
    let mut gradients = pass.backward(&x).unwrap();
    let gradient = |(name, var): (&String, &Var)| {
        let gradient =
            gradients.take(var.as_tensor()).map(|gradient| bits(&gradient.to_tensor(var.as_tensor()).unwrap()));
        (name.clone(), gradient)
    };
    let gradients = vars.iter().map(gradient).collect();
    (out, gradients, dropout.below(1 << 60))
}

#[test]
fn recomputation_does_not_change_the_result() {
    let noise_net = r#"{ "kind": "noise-net", "channels": 3, "image_size": 8, "base_channels": 8,
        "channel_multipliers": [1, 2], "attention_resolutions": [4], "norm_groups": 4, "dropout": 0.3 }"#;
    let unet2d = r#"{ "kind": "unet2d", "sample_size": 8, "block_out_channels": [8, 8], "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        "dropout": 0.3 }"#;
    for config in [noise_net, unet2d] {
        let config: NetworkConfig = serde_json::from_str(config).unwrap();
        for precision in [Precision::F32, Precision::Bf16] {
            let (saved, recomputed) = (run(&config, precision, false), run(&config, precision, true));
            assert_eq!(saved.0, recomputed.0);
            assert_eq!(saved.2, recomputed.2, "the dropout stream ends at another position");
            // The gradient of a value that two blocks use is summed in another order, which changes its rounding.
            let all = |gradients: &BTreeMap<String, Option<Vec<f32>>>| -> Vec<f64> {
                gradients.values().flatten().flatten().map(|value| f64::from(*value)).collect()
            };
            let (saved, recomputed) = (all(&saved.1), all(&recomputed.1));
            assert_eq!(saved.len(), config.parameter_count().unwrap());
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let error = norm(&mut saved.iter().zip(&recomputed).map(|(a, b)| a - b)) / norm(&mut saved.iter().copied());
            let bound = if precision == Precision::F32 { 1e-5 } else { 1e-2 };
            assert!(error < bound, "{precision:?}: {error:e}");
        }
    }
}
