//! Outputs and gradients of `UNet2d` equal diffusers' on the same weights, and parameter counts the published ones.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use ddpm_rng::{Purpose, Stream};
use ddpm_testkit::{Golden, assert_close, assert_gradients, golden_names};
use ddpm_unet::{DownBlockType, UNet2d, UNet2dConfig};

/// The golden values are computed in f64, so the difference is the rounding of f32 arithmetic.
const TOLERANCE: f64 = 1e-4;

fn config(golden: &Golden) -> UNet2dConfig {
    serde_json::from_str(&golden.config).unwrap()
}

fn classes(golden: &Golden) -> Option<&Tensor> {
    golden.tensors.get("classes")
}

#[test]
fn values_and_every_gradient_equal_diffusers() {
    let names = golden_names("unet2d");
    assert!(names.len() >= 6, "golden files: {names:?}");
    for name in names {
        let golden = Golden::load(&name);
        let vars: BTreeMap<String, Var> = golden
            .with_prefix("param.")
            .into_iter()
            .map(|(name, tensor)| (name, Var::from_tensor(&tensor).unwrap()))
            .collect();
        let weights = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        let network = UNet2d::from_tensors(&config(&golden), &weights).unwrap();
        let x = Var::from_tensor(golden.get("x")).unwrap();
        let out = network.forward(x.as_tensor(), golden.get("t"), classes(&golden)).unwrap();
        assert_close(&format!("{name}: eps_hat"), &out, golden.get("eps_hat"), TOLERANCE);
        let loss = (&out - golden.get("eps")).and_then(|difference| difference.sqr()?.mean_all()).unwrap();
        let grads = loss.backward().unwrap();
        let gradient = |parameter: &str| grads.get(vars[parameter].as_tensor()).unwrap().clone();
        assert_gradients(&name, &golden, TOLERANCE, gradient);
        assert_close(&format!("{name}: x"), grads.get(x.as_tensor()).unwrap(), golden.get("grad_x"), TOLERANCE);
    }
}

#[test]
fn f64_agrees_more_closely() {
    for name in golden_names("unet2d") {
        let golden = Golden::load(&name);
        let to_f64 = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
        let weights = golden.with_prefix("param.").into_iter().map(|(name, tensor)| (name, to_f64(&tensor))).collect();
        let network = UNet2d::from_tensors(&config(&golden), &weights).unwrap();
        let out = network.forward(&to_f64(golden.get("x")), &to_f64(golden.get("t")), classes(&golden)).unwrap();
        // The golden file stores f32, with a relative rounding error of 6e-8.
        assert_close(&format!("{name} in f64"), &out, golden.get("eps_hat"), 3e-7);
    }
}

#[test]
fn parameter_counts_are_the_published_ones() {
    assert_eq!(UNet2d::parameter_count(&UNet2dConfig::cifar10()).unwrap(), 35_746_307);
    assert_eq!(UNet2d::parameter_count(&UNet2dConfig::large()).unwrap(), 113_673_219);
}

fn small() -> UNet2dConfig {
    serde_json::from_str(
        r#"{ "sample_size": 8, "block_out_channels": [8, 8], "norm_num_groups": 4,
             "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
             "up_block_types": ["AttnUpBlock2D", "UpBlock2D"] }"#,
    )
    .unwrap()
}

#[test]
fn configurations_survive_serialization() {
    let config = small();
    assert_eq!(config.attention_head_dim, None);
    let read: UNet2dConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(read, config);
}

#[test]
fn invalid_configurations_name_the_field() {
    let check = |edit: &dyn Fn(&mut UNet2dConfig), expected: &str| {
        let mut config = small();
        edit(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(&|c| c.block_out_channels = vec![], "model.block_out_channels: expected 1 to 16 levels");
    check(&|c| c.block_out_channels = vec![8], "model.down_block_types: expected 1 blocks");
    check(&|c| c.up_block_types.truncate(1), "model.up_block_types: expected 2 blocks");
    check(&|c| c.norm_num_groups = 3, "model.norm_num_groups: expected a divisor");
    check(&|c| c.attn_norm_num_groups = Some(3), "model.attn_norm_num_groups: expected a divisor of 8");
    check(&|c| c.downsample_padding = 2, "model.downsample_padding: expected 0 or 1, found 2");
    check(&|c| c.freq_shift = 4, "model.freq_shift");
    check(&|c| c.norm_eps = f64::NAN, "model.norm_eps: expected a finite number above 0, found NaN");
    check(&|c| c.sample_size.height = 7, "model.sample_size: expected a height and a width that are multiples of 2");
    check(&|c| c.attention_head_dim = Some(0), "model.attention_head_dim");
    check(&|c| c.block_out_channels = vec![1 << 20, 1 << 20], "model.");
    check(&|c| c.sample_size.height = 1 << 30, "model.sample_size");
    let unknown = r#"{ "sample_size": 8, "down_block_types": ["SkipDownBlock2D"] }"#;
    let error = serde_json::from_str::<UNet2dConfig>(unknown).unwrap_err().to_string();
    assert!(error.contains("SkipDownBlock2D") && error.contains("AttnDownBlock2D"), "{error}");
    assert_eq!(small().down_block_types[0], DownBlockType::DownBlock2D);
}

#[test]
fn shapes_and_classes_that_do_not_fit_are_errors() {
    let weights = UNet2d::initial_weights(&small(), 0).unwrap();
    let network = UNet2d::from_tensors(&small(), &weights).unwrap();
    let x = |c, h, w| Tensor::zeros((2, c, h, w), DType::F32, &Device::Cpu).unwrap();
    let t = Tensor::new(&[1.0_f32, 2.0], &Device::Cpu).unwrap();
    assert!(network.forward(&x(3, 8, 4), &t, None).is_ok());
    assert!(network.forward(&x(1, 8, 8), &t, None).is_err());
    assert!(network.forward(&x(3, 8, 7), &t, None).is_err());
    assert!(network.forward(&x(3, 8, 8), &t.narrow(0, 0, 1).unwrap(), None).is_err());
    assert!(network.forward(&x(3, 8, 8), &t, Some(&t)).is_err());
    let conditional = UNet2dConfig { num_class_embeds: Some(2), ..small() };
    let network = UNet2d::from_tensors(&conditional, &UNet2d::initial_weights(&conditional, 0).unwrap()).unwrap();
    assert!(network.forward(&x(3, 8, 8), &t, None).is_err());
    // The table has the rows 0 and 1, the labels are 1 and 2.
    let error = network.forward(&x(3, 8, 8), &t, Some(&t)).unwrap_err().to_string();
    assert!(error.contains("rows from 0 to 1, found 2"), "{error}");
}

#[test]
fn dropout_acts_in_training_only_and_follows_its_stream() {
    let config = UNet2dConfig { dropout: 0.5, ..small() };
    let network = UNet2d::from_tensors(&config, &UNet2d::initial_weights(&config, 1).unwrap()).unwrap();
    let x = Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu).unwrap();
    let t = Tensor::new(&[5.0_f32], &Device::Cpu).unwrap();
    let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let train = |position| {
        let mut stream = Stream::new(0, Purpose::Dropout, position);
        values(network.forward_train(&x, &t, None, &mut stream).unwrap().output())
    };
    assert_eq!(train(0), train(0));
    assert_ne!(train(0), train(1));
    assert_ne!(train(0), values(network.forward(&x, &t, None).unwrap()));
}
