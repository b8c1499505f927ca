//! EfficientNet-Lite0 equals the Python package efficientnet-lite-pytorch on the same weights and images.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "a test that is left out says why")]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use ddpm_features::{EfficientNetLite0, FeatureNetwork, FeaturesError, NetworkKind, Preprocessing, load};
use ddpm_testkit::{Golden, assert_close, efficientnet_lite0_weights, formula_images, formula_tensor};

/// The golden values are computed in f64. The rounding of f32 grows through about fifty layers to some 1e-6.
const TOLERANCE: f64 = 2e-5;

fn network(tensors: &BTreeMap<String, Tensor>) -> Result<EfficientNetLite0, FeaturesError> {
    EfficientNetLite0::from_tensors(tensors, Preprocessing::efficientnet_lite0(), &Device::Cpu)
}

#[test]
fn features_and_logits_equal_the_package() {
    let golden = Golden::load("features/efficientnet_lite0");
    let network = network(&efficientnet_lite0_weights()).unwrap();
    let out = network.features(&formula_images(2, 224, 224)).unwrap();
    assert_close("features", &out.features, golden.get("features"), TOLERANCE);
    assert_close("logits", &out.logits.unwrap(), golden.get("logits"), TOLERANCE);
}

#[test]
fn features_with_the_published_weights_equal_the_package() {
    let Some(path) = std::env::var_os("DDPM_EFFICIENTNET_LITE0_WEIGHTS") else {
        eprintln!("left out: DDPM_EFFICIENTNET_LITE0_WEIGHTS does not name the file efficientnet-lite0-57934424.pth");
        return;
    };
    let golden = Golden::load("features/efficientnet_lite0");
    let photographs = golden.get("photographs").to_dtype(DType::F32).unwrap();
    // Every pixel four times in both directions.
    let shape = (2, 3, 56, 4, 56, 4);
    let images = photographs.reshape((2, 3, 56, 1, 56, 1)).unwrap().broadcast_as(shape).unwrap();
    let images = images.contiguous().unwrap().reshape((2, 3, 224, 224)).unwrap();
    let kind = NetworkKind::EfficientNetLite0;
    let network = load(path, kind, kind.preprocessing(), &Device::Cpu).unwrap();
    let out = network.features(&images).unwrap();
    let error = ddpm_testkit::relative_error(&out.features, golden.get("pretrained_features"));
    eprintln!("published weights: relative error of the features {error:.1e}");
    assert_close("features", &out.features, golden.get("pretrained_features"), TOLERANCE);
    assert_close("logits", &out.logits.unwrap(), golden.get("pretrained_logits"), TOLERANCE);
}

#[test]
fn an_image_has_the_same_features_in_every_batch() {
    let network = network(&efficientnet_lite0_weights()).unwrap();
    let images = formula_images(3, 32, 32);
    let together = network.features(&images).unwrap().features.to_vec2::<f32>().unwrap();
    for (i, expected) in together.iter().enumerate() {
        let alone = network.features(&images.narrow(0, i, 1).unwrap()).unwrap().features.to_vec2::<f32>().unwrap();
        assert_eq!(alone[0], *expected, "image {i}");
    }
    let none = network.features(&images.narrow(0, 0, 0).unwrap()).unwrap();
    assert_eq!((none.features.dims(), none.logits.unwrap().dims()), (&[0, 1280][..], &[0, 1000][..]));
}

#[test]
fn weights_of_another_network_and_wrong_images_are_errors() {
    let mut tensors = efficientnet_lite0_weights();
    tensors.remove("_fc.bias");
    tensors.insert("_conv_head.weight".into(), formula_tensor("x", &[3]));
    tensors.insert("y".into(), formula_tensor("y", &[1]));
    let text = network(&tensors).unwrap_err().to_string();
    assert!(text.contains("another network than efficientnet-lite0"), "{text}");
    for part in ["`_fc.bias` [1000] is missing", "`_conv_head.weight` has the shape [3]", "`y` [1] is not part"] {
        assert!(text.contains(part), "{text}");
    }
    let network = network(&efficientnet_lite0_weights()).unwrap();
    for shape in [&[1, 1, 8, 8][..], &[3, 8, 8], &[1, 3, 0, 8]] {
        let images = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let error = network.features(&images).unwrap_err().to_string();
        assert!(error.contains("[image, 3, height, width]"), "{error}");
    }
    let size = Preprocessing { size: 3, ..Preprocessing::efficientnet_lite0() };
    let error =
        EfficientNetLite0::from_tensors(&efficientnet_lite0_weights(), size, &Device::Cpu).unwrap_err().to_string();
    assert_eq!(error, "size: expected 32 to 2048, found 3");
}
