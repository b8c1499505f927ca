//! Weights that are packed once: the same bits as where they are packed in every pass.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use ddpm_rng::{Purpose, Stream};
use ddpm_testkit::device;
use ddpm_unet::{Network, NetworkConfig, Precision};

#[test]
fn they_give_the_same_bits_in_every_pass() {
    let noise_net = r#"{ "kind": "noise-net", "channels": 3, "image_size": 8, "base_channels": 8,
        "channel_multipliers": [1, 2], "attention_resolutions": [4], "norm_groups": 4, "dropout": 0 }"#;
    let unet2d = r#"{ "kind": "unet2d", "sample_size": 8, "block_out_channels": [8, 8], "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"] }"#;
    for config in [noise_net, unet2d] {
        let config: NetworkConfig = serde_json::from_str(config).unwrap();
        let initial = config.initial_weights(3).unwrap();
        let vars: BTreeMap<String, Var> = initial
            .into_iter()
            .map(|(name, tensor)| (name, Var::from_tensor(&tensor.to_device(&device()).unwrap()).unwrap()))
            .collect();
        let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            let plain = Network::from_tensors(&config, &weights).unwrap().with_precision(precision);
            let fixed =
                Network::from_tensors(&config, &weights).unwrap().with_packed_weights().with_precision(precision);
            let predict = |network: &Network, images: usize| -> Vec<f32> {
                let x = Stream::new(1, Purpose::Synthetic, images as u64).normal((images, 3, 8, 8), &device()).unwrap();
                let t = Tensor::full(300f32, images, &device()).unwrap();
                network
                    .forward(&x, &t, None)
                    .unwrap()
                    .to_dtype(DType::F32)
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1()
                    .unwrap()
            };
            // Batches of one and of three, for which other kernels may be the fastest: each wants its own form.
            for images in [3, 1, 3, 1] {
                assert!(predict(&plain, images) == predict(&fixed, images), "{precision:?}, {images} images");
            }
            // What was packed is used: a weight that is set in place does not show. One that a kernel reads as it is would.
            let before = predict(&fixed, 3);
            let packed = |var: &Var| matches!(*var.dims(), [8, 8, 3, 3]);
            let (name, var) = vars.iter().find(|(_, var)| packed(var)).unwrap();
            let own = var.as_tensor().copy().unwrap();
            var.set(&(&own * 2.0).unwrap()).unwrap();
            assert!(predict(&plain, 3) != before, "{name} has no effect");
            assert!(predict(&fixed, 3) == before, "{name} was packed again, {precision:?}");
            var.set(&own).unwrap();
        }
    }
}
