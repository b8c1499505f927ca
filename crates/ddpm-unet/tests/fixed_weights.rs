//! Weights that are packed once give the same bits as weights that are packed in every forward pass.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use ddpm_rng::{Purpose, Stream};
use ddpm_testkit::device;
use ddpm_unet::{Network, NetworkConfig, Precision};

#[test]
fn packed_weights_give_the_same_bits_in_every_pass() {
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
            let packed =
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
            // Different kernels may be selected for one image and for three, each with a packed form of its own.
            for images in [3, 1, 3, 1] {
                assert!(predict(&plain, images) == predict(&packed, images), "{precision:?}, {images} images");
            }
            // The packed form is used: a variable that is set in place has no effect. The variable is one that every
            // kernel packs; a weight that a kernel reads unpacked would have an effect.
            let before = predict(&packed, 3);
            let is_packed = |var: &Var| matches!(*var.dims(), [8, 8, 3, 3]);
            let (name, var) = vars.iter().find(|(_, var)| is_packed(var)).unwrap();
            let original = var.as_tensor().copy().unwrap();
            var.set(&(&original * 2.0).unwrap()).unwrap();
            assert!(predict(&plain, 3) != before, "{name} has no effect");
            assert!(predict(&packed, 3) == before, "{name} was packed again, {precision:?}");
            var.set(&original).unwrap();
        }
    }
}
