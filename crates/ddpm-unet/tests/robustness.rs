//! Invalid configurations, weights and inputs are errors that name what is wrong.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use ddpm_rng::{Purpose, Stream};
use ddpm_unet::{ImageSize, NetworkConfig, NoiseNet, NoiseNetConfig};

fn small() -> NoiseNetConfig {
    NoiseNetConfig {
        channels: 2,
        image_size: ImageSize { height: 4, width: 6 },
        base_channels: 8,
        channel_multipliers: vec![1, 2],
        attention_resolutions: vec![6],
        attention_heads: 2,
        attention_head_channels: 4,
        ..NoiseNetConfig::article()
    }
}

fn built(config: &NoiseNetConfig) -> NoiseNet {
    NoiseNet::from_tensors(config, &NoiseNet::initial_weights(config, 1).unwrap()).unwrap()
}

#[test]
fn fields_that_are_too_large_together_are_named_before_anything_is_allocated() {
    type Change = fn(&mut NoiseNetConfig);
    let cases: [(&str, Change); 4] = [
        ("model.image_size", |c| c.image_size = ImageSize::square(1_000_000)),
        ("model.base_channels", |c| c.base_channels = 50_000),
        ("model.attention_heads", |c| c.attention_heads = 1_000_000),
        ("model.attention_head_channels", |c| c.attention_head_channels = 1_000_000),
    ];
    for (field, change) in cases {
        let mut config = NoiseNetConfig::article();
        config.validate().unwrap();
        change(&mut config);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(field) && message.contains("at most") && !message.contains('\n'), "{message}");
    }
}

#[test]
fn bad_configurations_name_the_field() {
    type Change = fn(&mut NoiseNetConfig);
    let cases: [(&str, Change); 12] = [
        ("model.channels", |c| c.channels = 0),
        ("model.base_channels", |c| c.base_channels = 2),
        ("model.base_channels", |c| c.base_channels = 10),
        ("model.base_channels", |c| c.base_channels = usize::MAX),
        ("model.channel_multipliers", |c| c.channel_multipliers.clear()),
        ("model.channel_multipliers", |c| c.channel_multipliers[0] = 0),
        ("model.channel_multipliers", |c| c.channel_multipliers = vec![1; 64]),
        ("model.channel_multipliers", |c| c.channel_multipliers = vec![usize::MAX]),
        ("model.dropout", |c| c.dropout = 1.0),
        ("model.dropout", |c| c.dropout = f64::NAN),
        ("model.image_size", |c| c.image_size.width = 7),
        ("model.norm_groups", |c| c.norm_groups = 0),
    ];
    for (field, change) in cases {
        let mut config = small();
        change(&mut config);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.starts_with(field), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn every_wrong_weight_is_listed() {
    let config = small();
    let mut weights = NoiseNet::initial_weights(&config, 1).unwrap();
    weights.remove("output_conv.bias");
    weights.insert("stranger".into(), Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap());
    let flat = weights["input_conv.weight"].flatten_all().unwrap();
    weights.insert("input_conv.weight".into(), flat);
    let message = NoiseNet::from_tensors(&config, &weights).unwrap_err().to_string();
    for part in
        ["output_conv.bias: missing", "stranger: not a parameter", "input_conv.weight: expected shape [8, 2, 7, 7]"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let network = built(&small());
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
    let forward = |x: &[usize], t: &[usize]| network.forward(&zeros(x), &zeros(t), None);
    assert_eq!(forward(&[3, 2, 4, 6], &[3]).unwrap().dims(), [3, 2, 4, 6]);
    assert_eq!(forward(&[1, 2, 8, 2], &[1]).unwrap().dims(), [1, 2, 8, 2]);
    for (x, t) in [
        (&[3, 2, 4, 6][..], &[1][..]),
        (&[1, 3, 4, 6], &[1]),
        (&[1, 2, 5, 6], &[1]),
        (&[2, 4, 6], &[1]),
        (&[1, 2, 4, 6], &[1, 1]),
    ] {
        assert!(forward(x, t).is_err(), "{x:?} {t:?}");
    }
}

#[test]
fn initial_weights_depend_on_the_seed_alone() {
    let values = |seed: u64| {
        NoiseNet::initial_weights(&small(), seed).unwrap()["mid.conv1.conv1.conv.weight"]
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    assert_eq!(values(1), values(1));
    assert_ne!(values(1), values(2));
    let bound = (16.0f32 * 9.0).sqrt().recip();
    let largest = values(1).iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(largest <= bound && largest > 0.99 * bound, "{largest} of {bound}");
}

#[test]
fn dropout_acts_in_training_only_and_follows_its_stream() {
    let network = built(&NoiseNetConfig { dropout: 0.5, ..small() });
    let x = Stream::new(0, Purpose::Synthetic, 0).normal((1, 2, 4, 6), &Device::Cpu).unwrap();
    let t = Tensor::new(&[10f32], &Device::Cpu).unwrap();
    let train = |position| {
        let out = network.forward_train(&x, &t, None, &mut Stream::new(0, Purpose::Dropout, position)).unwrap();
        out.output().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let eval = network.forward(&x, &t, None).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(train(0), train(0));
    assert_ne!(train(0), train(1));
    assert_ne!(train(0), eval);
}

#[test]
fn a_network_follows_its_variables() {
    let config = small();
    let vars: BTreeMap<String, Var> = NoiseNet::initial_weights(&config, 1)
        .unwrap()
        .into_iter()
        .map(|(n, t)| (n, Var::from_tensor(&t).unwrap()))
        .collect();
    let weights = vars.iter().map(|(n, v)| (n.clone(), v.as_tensor().clone())).collect();
    let network = NoiseNet::from_tensors(&config, &weights).unwrap();
    let bias = &vars["output_conv.bias"];
    bias.set(&(bias.as_tensor() + 3.0).unwrap()).unwrap();
    let x = Tensor::zeros((1, 2, 4, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
    let t = Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu).unwrap();
    let old = built(&config).forward(&x, &t, None).unwrap();
    let new = network.forward(&x, &t, None).unwrap();
    let moved = (new - old).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!((moved - 3.0).abs() < 1e-5, "{moved}");
}

#[test]
fn configurations_survive_serialization() {
    let config = NetworkConfig::NoiseNet(small());
    let text = serde_json::to_string(&config).unwrap();
    assert!(text.contains(r#""kind":"noise-net""#) && text.contains(r#""image_size":[4,6]"#), "{text}");
    assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), config);
    let unknown = text.replace("base_channels", "base_chanels");
    assert!(serde_json::from_str::<NetworkConfig>(&unknown).unwrap_err().to_string().contains("base_chanels"));
}
