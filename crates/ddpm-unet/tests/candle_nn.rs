//! Networks are built and trained with candle-nn: its sources of weights, its optimizer, and tensors of other dtypes
//! and layouts.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{AdamW, Init, Optimizer, VarBuilder, VarMap, loss::mse};
use ddpm_rng::{Purpose, Stream};
use ddpm_testkit::assert_close;
use ddpm_unet::{Network, NetworkConfig};

fn configs() -> [NetworkConfig; 2] {
    let noise_net = r#"{ "kind": "noise-net", "channels": 3, "image_size": 8, "base_channels": 8,
        "channel_multipliers": [1, 2], "attention_resolutions": [4], "norm_groups": 4 }"#;
    let unet2d = r#"{ "kind": "unet2d", "sample_size": 8, "block_out_channels": [8, 8], "norm_num_groups": 4,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"] }"#;
    [serde_json::from_str(noise_net).unwrap(), serde_json::from_str(unet2d).unwrap()]
}

fn normal(position: u64) -> Tensor {
    Stream::new(0, Purpose::Synthetic, position).normal((3, 3, 8, 8), &Device::Cpu).unwrap()
}

fn timesteps() -> Tensor {
    Tensor::new(&[3f32, 300.0, 700.0], &Device::Cpu).unwrap()
}

fn predict(network: &Network) -> Vec<f32> {
    let out = network.forward(&normal(0), &timesteps(), None).unwrap();
    out.flatten_all().unwrap().to_vec1().unwrap()
}

/// A backend that is not candle's: it counts requests and serves tensors from a map.
struct Counting {
    tensors: BTreeMap<String, Tensor>,
    requests: Arc<Mutex<usize>>,
}

impl SimpleBackend for Counting {
    fn get(&self, _: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.get_unchecked(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        *self.requests.lock().unwrap() += 1;
        Ok(self.tensors[name].clone())
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

#[test]
fn every_source_of_weights_builds_the_same_network() {
    for config in configs() {
        let weights = config.initial_weights(1).unwrap();
        let expected = predict(&Network::from_tensors(&config, &weights).unwrap());
        let check = |what: &str, vb: VarBuilder<'_>| {
            assert!(predict(&Network::new(&config, vb).unwrap()) == expected, "{what}, {}", config.kind());
        };
        let map: HashMap<String, Tensor> = weights.clone().into_iter().collect();
        let from_map = |map| VarBuilder::from_tensors(map, DType::F32, &Device::Cpu);
        check("a map", from_map(map.clone()));

        let renamed = map.iter().map(|(name, tensor)| (name.replace('.', "/"), tensor.clone())).collect();
        check("a renamed map", from_map(renamed).rename_f(|name| name.replace('.', "/")));
        let nested = map.iter().map(|(name, tensor)| (format!("ema.{name}"), tensor.clone())).collect();
        check("a prefix", from_map(nested).pp("ema"));

        let mut variables = VarMap::new();
        Network::new(&config, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu)).unwrap();
        variables.set(weights.clone().into_iter()).unwrap();
        check("a VarMap", VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu));

        let file = tempfile::NamedTempFile::new().unwrap();
        variables.save(file.path()).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        check("safetensors", VarBuilder::from_slice_safetensors(&bytes, DType::F32, &Device::Cpu).unwrap());

        let requests = Arc::new(Mutex::new(0));
        let backend = Counting { tensors: weights.clone(), requests: requests.clone() };
        check("a backend of another crate", VarBuilder::from_backend(Box::new(backend), DType::F32, Device::Cpu));
        assert_eq!(*requests.lock().unwrap(), weights.len());
    }
}

#[test]
fn candle_reports_a_missing_tensor_and_from_tensors_reports_all_of_them() {
    for config in configs() {
        let mut weights = config.initial_weights(1).unwrap();
        let names: Vec<String> = weights.keys().take(2).cloned().collect();
        names.iter().for_each(|name| drop(weights.remove(name)));
        let map = weights.clone().into_iter().collect();
        let error = Network::new(&config, VarBuilder::from_tensors(map, DType::F32, &Device::Cpu)).unwrap_err();
        assert!(names.iter().any(|name| error.to_string().contains(name)), "{error}");
        let error = Network::from_tensors(&config, &weights).unwrap_err();
        assert!(names.iter().all(|name| error.to_string().contains(&format!("{name}: missing"))), "{error}");
    }
}

/// A `VarMap` is initialized by candle itself, from the distributions that the layers request.
#[test]
fn candle_initializes_what_the_layers_ask_for() {
    for config in configs() {
        let variables = VarMap::new();
        Network::new(&config, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu)).unwrap();
        let variables = variables.data().lock().unwrap();
        let parameters = config.parameters().unwrap();
        assert_eq!(variables.len(), parameters.len());
        for (name, spec) in parameters {
            let values: Vec<f32> = variables[&name].flatten_all().unwrap().to_vec1().unwrap();
            match spec.init {
                Init::Const(value) => assert!(values.iter().all(|v| *v == value as f32), "{name}"),
                Init::Uniform { lo, up } => {
                    assert!(values.iter().all(|v| (lo as f32..=up as f32).contains(v)), "{name}");
                    let largest = values.iter().fold(0f32, |largest, v| largest.max(v.abs()));
                    // 64 draws are all in the inner half with probability 2⁻⁶⁴.
                    assert!(values.len() < 64 || f64::from(largest) > up / 2.0, "{name}: {largest} of {up}");
                }
                init => panic!("{name}: {init:?}"),
            }
        }
    }
}

#[test]
fn a_network_learns_one_batch_with_adamw() {
    for config in configs() {
        let mut variables = VarMap::new();
        let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
        let network = Network::new(&config, vb).unwrap();
        variables.set(config.initial_weights(0).unwrap().into_iter()).unwrap();
        let mut optimizer = AdamW::new_lr(variables.all_vars(), 3e-3).unwrap();
        let (x_t, noise) = (normal(0), normal(1));
        let losses: Vec<f32> = (0..60)
            .map(|_| {
                let loss = mse(&network.forward(&x_t, &timesteps(), None).unwrap(), &noise).unwrap();
                optimizer.backward_step(&loss).unwrap();
                loss.to_scalar().unwrap()
            })
            .collect();
        // PyTorch's networks of the same configuration reach 0.1 % to 0.7 % of the first loss with the same optimizer.
        assert!(losses[59] < 0.1 * losses[0], "{}: {losses:?}", config.kind());
    }
}

#[test]
fn images_and_weights_may_have_any_floating_point_dtype() {
    for config in configs() {
        let weights: HashMap<String, Tensor> = config.initial_weights(1).unwrap().into_iter().collect();
        let network = |dtype| {
            let vb = VarBuilder::from_tensors(weights.clone(), dtype, &Device::Cpu);
            Network::new(&config, vb).unwrap()
        };
        let reference = network(DType::F64).forward(&to(&normal(0), DType::F64), &timesteps(), None).unwrap();
        assert_eq!(reference.dtype(), DType::F64);
        // f32 as in the golden tests; f64 is exact, because the weights were drawn in f32; a rounding has a relative
        // error of up to 2⁻¹¹ in f16 and 2⁻⁸ in bf16, which the network may amplify a few times.
        for (images, weights, tolerance) in [
            (DType::F32, DType::F32, 1e-4),
            (DType::F64, DType::F32, 1e-6),
            (DType::F16, DType::F32, 5e-3),
            (DType::BF16, DType::F32, 4e-2),
            (DType::F32, DType::F64, 1e-4),
            (DType::F32, DType::F16, 5e-3),
            (DType::F32, DType::BF16, 4e-2),
            (DType::F64, DType::BF16, 4e-2),
            (DType::BF16, DType::BF16, 4e-2),
        ] {
            let out = network(weights).forward(&to(&normal(0), images), &timesteps(), None).unwrap();
            assert_eq!(out.dtype(), images);
            assert_close(&format!("{images:?} images, {weights:?} weights"), &out, &reference, tolerance);
        }
    }
}

/// candle's optimizers need the gradient of a variable in the dtype of the variable.
#[test]
fn gradients_have_the_dtype_of_their_variables() {
    for (images, weights) in [(DType::F32, DType::BF16), (DType::F64, DType::F32), (DType::F64, DType::BF16)] {
        for config in configs() {
            let variables = VarMap::new();
            let vb = VarBuilder::from_varmap(&variables, weights, &Device::Cpu);
            let network = Network::new(&config, vb).unwrap();
            let x_t = Var::from_tensor(&to(&normal(0), images)).unwrap();
            let loss = network.forward(&x_t, &timesteps(), None).unwrap().sqr().unwrap().sum_all().unwrap();
            let mut gradients = loss.backward().unwrap();
            assert_eq!(gradients.get(&x_t).unwrap().dtype(), images);
            for variable in variables.all_vars() {
                assert_eq!(gradients.get(&variable).unwrap().dtype(), weights);
            }
            let mut optimizer = AdamW::new_lr(variables.all_vars(), 1e-3).unwrap();
            gradients.remove(&x_t);
            optimizer.step(&gradients).unwrap();
        }
    }
}

fn to(tensor: &Tensor, dtype: DType) -> Tensor {
    tensor.to_dtype(dtype).unwrap()
}

#[test]
fn images_and_weights_need_not_be_contiguous() {
    for config in configs() {
        let weights = config.initial_weights(1).unwrap();
        let expected = predict(&Network::from_tensors(&config, &weights).unwrap());
        // The same values with the axes of the storage in reverse order.
        let reversed = |tensor: &Tensor| {
            let axes: Vec<usize> = (0..tensor.rank()).rev().collect();
            tensor.permute(axes.clone()).unwrap().contiguous().unwrap().permute(axes).unwrap()
        };
        let views = weights.iter().map(|(name, tensor)| (name.clone(), reversed(tensor))).collect();
        let network = Network::from_tensors(&config, &views).unwrap();
        let x_t = reversed(&normal(0));
        assert!(!x_t.is_contiguous());
        let out = network.forward(&x_t, &timesteps(), None).unwrap();
        assert!(out.flatten_all().unwrap().to_vec1::<f32>().unwrap() == expected, "{}", config.kind());
    }
}

#[test]
fn images_and_timesteps_may_be_views_with_an_offset() {
    for config in configs() {
        let network = Network::from_tensors(&config, &config.initial_weights(1).unwrap()).unwrap();
        let expected = predict(&network);
        let with_offset = |tensor: &Tensor| Tensor::cat(&[tensor, tensor], 0).unwrap().narrow(0, 3, 3).unwrap();
        let out = network.forward(&with_offset(&normal(0)), &with_offset(&timesteps()), None).unwrap();
        assert!(out.flatten_all().unwrap().to_vec1::<f32>().unwrap() == expected, "{}", config.kind());
    }
}
