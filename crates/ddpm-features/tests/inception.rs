//! Inception-v3 equals pytorch-fid's network on the same weights and images.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ddpm_features::{FeatureNetwork, InceptionLayer, InceptionV3, Preprocessing};
use ddpm_testkit::{Golden, assert_close, formula_images, formula_tensor, relative_error};

/// The golden values are computed in f64. The rounding of f32 grows through 94 layers to some 1e-6.
const TOLERANCE: f64 = 2e-5;

/// Weights of the formula under the names of torchvision.
#[derive(Default)]
struct FormulaWeights(BTreeMap<String, Tensor>);

impl FormulaWeights {
    fn add(&mut self, name: &str, shape: &[usize]) {
        self.0.insert(name.to_owned(), formula_tensor(name, shape));
    }

    fn layer(&mut self, name: &str, shape: [usize; 4]) {
        self.add(&format!("{name}.conv.weight"), &shape);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.add(&format!("{name}.bn.{part}"), &shape[..1]);
        }
    }

    /// Convolutions in turn: name, output channels, height and width of the kernel.
    fn chain(&mut self, block: &str, mut channels: usize, layers: &[(&str, usize, usize, usize)]) {
        for (name, out, height, width) in layers {
            self.layer(&format!("{block}.{name}"), [*out, channels, *height, *width]);
            channels = *out;
        }
    }

    fn all() -> BTreeMap<String, Tensor> {
        let mut w = Self::default();
        for (name, shape) in [
            ("Conv2d_1a_3x3", [32, 3, 3, 3]),
            ("Conv2d_2a_3x3", [32, 32, 3, 3]),
            ("Conv2d_2b_3x3", [64, 32, 3, 3]),
            ("Conv2d_3b_1x1", [80, 64, 1, 1]),
            ("Conv2d_4a_3x3", [192, 80, 3, 3]),
        ] {
            w.layer(name, shape);
        }
        for (block, channels, pooled) in [("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)] {
            w.chain(block, channels, &[("branch1x1", 64, 1, 1)]);
            w.chain(block, channels, &[("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 5)]);
            let triple = [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)];
            w.chain(block, channels, &triple);
            w.chain(block, channels, &[("branch_pool", pooled, 1, 1)]);
        }
        let triple = [("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)];
        w.chain("Mixed_6a", 288, &[("branch3x3", 384, 3, 3)]);
        w.chain("Mixed_6a", 288, &triple);
        for (block, hidden) in [("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)] {
            w.chain(block, 768, &[("branch1x1", 192, 1, 1)]);
            w.chain(
                block,
                768,
                &[("branch7x7_1", hidden, 1, 1), ("branch7x7_2", hidden, 1, 7), ("branch7x7_3", 192, 7, 1)],
            );
            let double = [
                ("branch7x7dbl_1", hidden, 1, 1),
                ("branch7x7dbl_2", hidden, 7, 1),
                ("branch7x7dbl_3", hidden, 1, 7),
                ("branch7x7dbl_4", hidden, 7, 1),
                ("branch7x7dbl_5", 192, 1, 7),
            ];
            w.chain(block, 768, &double);
            w.chain(block, 768, &[("branch_pool", 192, 1, 1)]);
        }
        w.chain("Mixed_7a", 768, &[("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 3)]);
        let seven = [
            ("branch7x7x3_1", 192, 1, 1),
            ("branch7x7x3_2", 192, 1, 7),
            ("branch7x7x3_3", 192, 7, 1),
            ("branch7x7x3_4", 192, 3, 3),
        ];
        w.chain("Mixed_7a", 768, &seven);
        for (block, channels) in [("Mixed_7b", 1280), ("Mixed_7c", 2048)] {
            w.chain(block, channels, &[("branch1x1", 320, 1, 1)]);
            w.chain(block, channels, &[("branch3x3_1", 384, 1, 1)]);
            w.chain(block, channels, &[("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 3)]);
            for name in ["branch3x3_2a", "branch3x3dbl_3a"] {
                w.chain(block, 384, &[(name, 384, 1, 3)]);
            }
            for name in ["branch3x3_2b", "branch3x3dbl_3b"] {
                w.chain(block, 384, &[(name, 384, 3, 1)]);
            }
            w.chain(block, channels, &[("branch_pool", 192, 1, 1)]);
        }
        w.add("fc.weight", &[1008, 2048]);
        w.add("fc.bias", &[1008]);
        w.0
    }
}

fn network(tensors: &BTreeMap<String, Tensor>, layer: InceptionLayer) -> InceptionV3 {
    InceptionV3::from_tensors(tensors, layer, Preprocessing::pytorch_fid(), &Device::Cpu).unwrap()
}

#[test]
fn all_layers_and_logits_equal_pytorch_fid() {
    let golden = Golden::load("features/inception");
    let network = network(&FormulaWeights::all(), InceptionLayer::LastPooling);
    let images = formula_images(2, 299, 299);
    let out = network.all_layers(&images).unwrap();
    for (layer, features) in InceptionLayer::ALL.into_iter().zip(&out.layers) {
        let expected = golden.get(&layer.width().to_string());
        println!("{layer:?}: {:.1e}", relative_error(features, expected));
        assert_close(&format!("{layer:?}"), features, expected, TOLERANCE);
    }
    assert_close("logits", &out.logits.unwrap(), golden.get("logits"), TOLERANCE);
    assert_close("logits", out.logits_without_bias.as_ref().unwrap(), golden.get("biasless"), TOLERANCE);
    let features = network.features(&images).unwrap();
    assert_close("features", &features.features, golden.get("2048"), TOLERANCE);
    assert_close("logits", &features.logits.unwrap(), golden.get("biasless"), TOLERANCE);
}

#[test]
fn earlier_layers_and_names_of_the_wrapper_give_the_same_features() {
    let golden = Golden::load("features/inception");
    let mut tensors = BTreeMap::new();
    for (name, tensor) in FormulaWeights::all() {
        let prefixes =
            [("Conv2d_1a_3x3.", "blocks.0.0."), ("Conv2d_4a_3x3.", "blocks.1.1."), ("Mixed_7c.", "blocks.3.2.")];
        let prefix = prefixes.into_iter().find(|(plain, _)| name.starts_with(plain));
        let name = prefix.map_or(name.clone(), |(plain, wrapper)| name.replacen(plain, wrapper, 1));
        if !name.starts_with("fc.") {
            tensors.insert(name, tensor);
        }
    }
    tensors.insert("Mixed_7b.branch_pool.bn.num_batches_tracked".into(), formula_tensor("n", &[]));
    let network = network(&tensors, InceptionLayer::SecondPooling);
    assert_eq!((network.feature_width(), network.class_count()), (192, None));
    let out = network.features(&formula_images(2, 299, 299)).unwrap();
    assert!(out.logits.is_none());
    assert_close("second pooling", &out.features, golden.get("192"), TOLERANCE);
}

#[test]
fn weights_of_torchvision_are_those_of_another_network() {
    let mut tensors = FormulaWeights::all();
    tensors.insert("fc.weight".into(), formula_tensor("fc.weight", &[1000, 2048]));
    tensors.insert("fc.bias".into(), formula_tensor("fc.bias", &[1000]));
    let layer = InceptionLayer::LastPooling;
    let error = InceptionV3::from_tensors(&tensors, layer, Preprocessing::pytorch_fid(), &Device::Cpu).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("another network than inception-v3: `fc.weight` has the shape [1000, 2048]"), "{text}");
}
