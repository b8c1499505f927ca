//! Every preprocessing equals its reference: torch-fidelity's TensorFlow 1 resize, PyTorch, and Pillow.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use ddpm_features::Preprocessing;
use ddpm_testkit::{Golden, assert_close, formula_images};

/// The references compute in f32 with another order of operations: a few units of 6e-8, of positions up to 130.
const TOLERANCE: f64 = 1e-5;

#[test]
fn resized_images_equal_the_references() {
    let golden = Golden::load("features/preprocessing");
    let all = [
        ("tensorflow", Preprocessing::tensorflow_inception()),
        ("pytorch_fid", Preprocessing::pytorch_fid()),
        ("clean_fid", Preprocessing::clean_fid()),
        ("imagenet", Preprocessing::efficientnet_lite0()),
        ("imagenet", Preprocessing::dino_v2()),
    ];
    for (name, preprocessing) in all {
        let preprocessing = Preprocessing { size: 24, ..preprocessing };
        for (height, width) in [(32, 32), (61, 50), (24, 24), (9, 130)] {
            let resized = preprocessing.apply(&formula_images(1, height, width)).unwrap();
            let name = format!("{name}_{height}_{width}");
            assert_close(&name, &resized, golden.get(&name), TOLERANCE);
        }
    }
}

#[test]
fn a_preprocessing_is_recorded_exactly() {
    for preprocessing in [Preprocessing::clean_fid(), Preprocessing::dino_v2()] {
        let text = serde_json::to_string(&preprocessing).unwrap();
        assert_eq!(serde_json::from_str::<Preprocessing>(&text).unwrap(), preprocessing, "{text}");
    }
    let unknown = r#"{"resize":"pillow-bicubic","size":1,"mean":[0,0,0],"std":[1,1,1],"crop":2}"#;
    assert!(serde_json::from_str::<Preprocessing>(unknown).is_err());
}
