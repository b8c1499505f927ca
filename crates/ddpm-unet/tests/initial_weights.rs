//! Initial weights are the documented function of the configuration and the seed.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use candle_core::{DType, Device, Tensor};
use candle_nn::Init;
use ddpm_rng::{Purpose, Stream};
use ddpm_unet::layers::{Embedding, Linear};
use ddpm_unet::{ImageSize, InitialWeights, Network, NetworkConfig, NoiseNetConfig, ParameterSpec, list_parameters};

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The stream of a parameter is named by its position in alphabetical order, and a uniform value is (2u − 1) / √fan_in,
/// rounded to f32 once. Checkpoints of earlier versions depend on these bits.
#[test]
fn each_parameter_is_drawn_from_its_own_stream() {
    let config = NetworkConfig::NoiseNet(NoiseNetConfig {
        channels: 2,
        image_size: ImageSize::square(4),
        base_channels: 8,
        channel_multipliers: vec![1, 2],
        ..NoiseNetConfig::article()
    });
    let weights = config.initial_weights(7).unwrap();
    for (position, (name, tensor)) in weights.iter().enumerate() {
        let mut stream = Stream::new(7, Purpose::InitialWeights, position as u64);
        let expected: Vec<f32> = if name.contains("norm.weight") {
            vec![1.0; tensor.elem_count()]
        } else if name.contains("norm.bias") {
            vec![0.0; tensor.elem_count()]
        } else {
            let weight = &weights[&name.replace(".bias", ".weight")];
            let fan_in = weight.elem_count() / weight.dims()[0];
            let bound = (fan_in as f64).sqrt().recip();
            (0..tensor.elem_count()).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect()
        };
        assert_eq!(values(tensor), expected, "{name}");
    }
}

#[test]
fn a_table_is_standard_normal() {
    let weights = InitialWeights::new(list_parameters(|vb| Embedding::new(5, 3, vb)).unwrap(), 7);
    let expected = Stream::new(7, Purpose::InitialWeights, 0).normal((5, 3), &Device::Cpu).unwrap();
    assert_eq!(values(&weights.tensors().unwrap()["weight"]), values(&expected));
}

#[test]
fn the_backend_draws_what_the_map_holds() {
    let parameters = list_parameters(|vb| Linear::new(4, 3, vb.pp("a"))).unwrap();
    let weights = InitialWeights::new(parameters, 1);
    let tensors = weights.tensors().unwrap();
    let vb = weights.var_builder();
    for (name, tensor) in &tensors {
        assert_eq!(values(&vb.get(tensor.shape(), name).unwrap()), values(tensor));
    }
    assert!(vb.contains_tensor("a.bias") && !vb.contains_tensor("b"));
    assert!(vb.get(3, "b").unwrap_err().to_string().contains("b: not in the list"));
    assert!(vb.get(4, "a.bias").unwrap_err().to_string().contains("expected shape [4]"));
}

/// Distributions that layers of other crates may request.
#[test]
fn every_initialization_of_candle_is_drawn() {
    let spec = |init| ParameterSpec { shape: vec![64, 256], init };
    let uniform = Init::Uniform { lo: 1.0, up: 3.0 };
    let normal = Init::Randn { mean: -1.0, stdev: 0.5 };
    let kaiming_uniform = candle_nn::init::DEFAULT_KAIMING_UNIFORM;
    let kaiming_normal = candle_nn::init::DEFAULT_KAIMING_NORMAL;
    // Kaiming's standard deviation with ReLU is √(2 / fan_in).
    let kaiming = (2.0f64 / 256.0).sqrt();
    for (init, mean, stdev) in [
        (Init::Const(0.25), 0.25, 0.0),
        (uniform, 2.0, 1.0 / 3f64.sqrt()),
        (normal, -1.0, 0.5),
        (kaiming_uniform, 0.0, kaiming),
        (kaiming_normal, 0.0, kaiming),
    ] {
        let tensors = InitialWeights::new([("p".to_owned(), spec(init))].into(), 3).tensors().unwrap();
        let drawn: Vec<f64> = values(&tensors["p"]).iter().map(|value| f64::from(*value)).collect();
        let count = drawn.len() as f64;
        let found_mean = drawn.iter().sum::<f64>() / count;
        let found_stdev = (drawn.iter().map(|value| (value - found_mean).powi(2)).sum::<f64>() / count).sqrt();
        // Five standard errors of 16,384 draws.
        assert!((found_mean - mean).abs() <= 5.0 * stdev / count.sqrt(), "{init:?}: mean {found_mean}");
        assert!((found_stdev - stdev).abs() <= 5.0 * stdev / count.sqrt(), "{init:?}: deviation {found_stdev}");
    }
}

#[test]
fn parameters_are_listed_without_their_memory() {
    let config = NetworkConfig::NoiseNet(NoiseNetConfig {
        base_channels: 4096,
        channel_multipliers: vec![1, 1, 1, 1],
        ..NoiseNetConfig::article()
    });
    // More than 16 GiB in f32.
    assert!(Network::parameter_count(&config).unwrap() > 1 << 32);
    assert_eq!(Network::parameters(&config).unwrap()["input_conv.weight"].shape, [4096, 3, 7, 7]);
}

#[test]
fn one_name_with_two_shapes_is_an_error() {
    let error = list_parameters(|vb| {
        vb.get(3, "a")?;
        vb.get((3, 1), "a")
    });
    assert!(error.unwrap_err().to_string().contains("a: requested with shape [3] and with shape [3, 1]"));
    let same = list_parameters(|vb| vb.get(3, "a").and_then(|_| vb.to_dtype(DType::F64).get(3, "a")));
    assert_eq!(same.unwrap().len(), 1);
}
