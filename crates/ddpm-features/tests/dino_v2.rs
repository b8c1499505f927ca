//! DINOv2 equals `Dinov2Model` of transformers on the same weights and images.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ddpm_features::{DinoV2, DinoV2Config, FeatureNetwork, Preprocessing};
use ddpm_testkit::{Golden, assert_close, formula_images, formula_tensor};

/// The golden values are computed in f64, except for the position embedding, which transformers resizes in f32.
const TOLERANCE: f64 = 2e-5;

fn config() -> DinoV2Config {
    DinoV2Config { width: 32, depth: 3, heads: 4, mlp_ratio: 4, patch_size: 14, pretrained_size: 70 }
}

/// The weights of the formula, under the names and with the shapes in the golden file.
fn formula_weights(golden: &Golden) -> BTreeMap<String, Tensor> {
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_str(&golden.config).unwrap();
    shapes.into_iter().map(|(name, shape)| (name.clone(), formula_tensor(&name, &shape))).collect()
}

fn network(tensors: &BTreeMap<String, Tensor>, size: usize) -> Result<DinoV2, ddpm_features::FeaturesError> {
    let preprocessing = Preprocessing { size, ..Preprocessing::dino_v2() };
    DinoV2::from_tensors(tensors, &config(), preprocessing, &Device::Cpu)
}

#[test]
fn features_equal_transformers() {
    let golden = Golden::load("features/dino_v2");
    // The size of the training, a smaller and a larger one.
    for size in [70, 42, 98] {
        let network = network(&formula_weights(&golden), size).unwrap();
        let out = network.features(&formula_images(2, size, size)).unwrap();
        assert!(out.logits.is_none());
        assert_close(&format!("{size} pixels"), &out.features, golden.get(&format!("features_{size}")), TOLERANCE);
    }
}

#[test]
fn names_of_the_original_code_give_the_same_features() {
    let golden = Golden::load("features/dino_v2");
    let mut original = BTreeMap::new();
    let theirs = formula_weights(&golden);
    for (name, tensor) in &theirs {
        let name = name
            .replace("embeddings.cls_token", "cls_token")
            .replace("embeddings.mask_token", "mask_token")
            .replace("embeddings.position_embeddings", "pos_embed")
            .replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
            .replace("encoder.layer.", "blocks.")
            .replace("attention.o_proj", "attn.proj")
            .replace("layer_scale1.lambda1", "ls1.gamma")
            .replace("layer_scale2.lambda1", "ls2.gamma")
            .replace("layernorm.", "norm.");
        if let Some((block, part)) = name.split_once("attention.q_proj.") {
            let projections = ["q", "k", "v"]
                .map(|p| &theirs[&format!("{}attention.{p}_proj.{part}", block.replace("blocks.", "encoder.layer."))]);
            original.insert(format!("{block}attn.qkv.{part}"), Tensor::cat(&projections, 0).unwrap());
        } else if !name.contains("attention.") {
            original.insert(name, tensor.clone());
        }
    }
    let out = network(&original, 42).unwrap().features(&formula_images(2, 42, 42)).unwrap();
    assert_close("features", &out.features, golden.get("features_42"), TOLERANCE);
}

#[test]
fn sizes_that_do_not_fit_are_errors() {
    let tensors = formula_weights(&Golden::load("features/dino_v2"));
    let error = network(&tensors, 100).unwrap_err().to_string();
    assert_eq!(error, "size: expected a multiple of 14, found 100");
    let narrow = DinoV2Config { heads: 5, ..config() };
    let error = DinoV2::from_tensors(&tensors, &narrow, Preprocessing::dino_v2(), &Device::Cpu).unwrap_err();
    assert_eq!(error.to_string(), "width: expected a multiple of 5, found 32");
    let deep = DinoV2Config { depth: 4, ..config() };
    let error = DinoV2::from_tensors(&tensors, &deep, Preprocessing::dino_v2(), &Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("`blocks.3.norm1.weight` [32] is missing"), "{error}");
}
