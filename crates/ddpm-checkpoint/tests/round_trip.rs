//! Loading returns what was saved, bit for bit.

mod fixture;

use std::collections::BTreeMap;
use std::fs;

use candle_core::{DType, Device, Tensor};
use ddpm_checkpoint::{Checkpoint, read_tensors, write_model, write_tensors};
use fixture::{assert_same, bits, checkpoint, description, files, names, tensor};
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn a_checkpoint_round_trips() {
    let dir = tempfile::tempdir().expect("temp dir");
    let saved = checkpoint(500);
    let path = saved.save(dir.path()).expect("room");
    assert_eq!(names(&path), ["manifest.json", "model.safetensors", "state.json", "training.safetensors"]);
    assert_same(&Checkpoint::load(&path).expect("valid"), &saved);
}

#[test]
fn an_empty_state_and_no_tensors_round_trip() {
    let dir = tempfile::tempdir().expect("temp dir");
    for state in [Value::Null, json!({}), json!([]), json!("text"), json!(u64::MAX)] {
        let mut saved = checkpoint(0);
        (saved.model, saved.training, saved.state) = (BTreeMap::new(), BTreeMap::new(), state);
        let path = saved.save(dir.path()).expect("room");
        assert_same(&Checkpoint::load(&path).expect("valid"), &saved);
    }
}

#[test]
fn equal_checkpoints_have_equal_bytes() {
    let (a, b) = (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    let (a, b) = (checkpoint(9).save(a.path()).expect("room"), checkpoint(9).save(b.path()).expect("room"));
    for (left, right) in files(&a).iter().zip(files(&b)) {
        assert_eq!(fs::read(left).expect("readable"), fs::read(&right).expect("readable"), "{}", right.display());
    }
}

#[test]
fn the_model_file_is_safetensors_with_one_metadata_key() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = checkpoint(500).save(dir.path()).expect("room").join("model.safetensors");
    let bytes = fs::read(&path).expect("readable");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("well-formed");
    let metadata = header.metadata().as_ref().expect("it has some");
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["ddpm"]);
    let description: Value = serde_json::from_str(&metadata["ddpm"]).expect("JSON");
    for field in ["format_version", "library_version", "network", "diffusion", "prediction", "data_range"] {
        assert!(description.get(field).is_some(), "{field}");
    }
    assert_eq!(header.offset_keys(), ["downs.0.weight", "input_conv.bias"]);
    // candle can read the file too.
    let read = candle_core::safetensors::load(&path, &Device::Cpu).expect("candle reads the file");
    assert_eq!(read["input_conv.bias"].dtype(), DType::F32);
}

#[test]
fn tensors_larger_than_a_chunk_round_trip() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("large.safetensors");
    for count in [16_383, 16_384, 16_385, 100_003] {
        let values: Vec<f32> = (0..count).map(|i| (i as f32).sqrt()).collect();
        let saved = BTreeMap::from([("w".to_owned(), tensor(&values, &[count]))]);
        write_tensors(&path, &saved).expect("room");
        assert_eq!(bits(&read_tensors(&path).expect("valid")), bits(&saved), "{count}");
    }
}

/// The description is part of the file format: a change of a key, of the order of the keys or of a value needs a new
/// format version.
#[test]
fn the_description_has_the_same_bytes_as_ever() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("model.safetensors");
    write_model(&path, &description(500), &checkpoint(500).model).expect("room");
    let bytes = fs::read(&path).expect("readable");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("well-formed");
    let network = r#"{"base_channels":32,"channel_multipliers":[1,2],"kind":"noise-net"}"#;
    let diffusion = r#"{"beta_end":0.02,"beta_schedule":"linear","beta_start":0.0001,"timesteps":1000}"#;
    let expected = format!(
        r#"{{"channels":1,"data_range":[-1.0,1.0],"diffusion":{diffusion},"format_version":1,"image_size":[8,8],"#
    ) + &format!(
        r#""library_version":"{}","network":{network},"prediction":"epsilon","sampler":"beta","training_step":500}}"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(header.metadata().as_ref().expect("metadata")["ddpm"], expected);
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    let finite = any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite());
    prop::collection::vec(0_usize..4, 0..5).prop_flat_map(move |shape| {
        let count = shape.iter().product::<usize>();
        prop::collection::vec(finite.clone(), count).prop_map(move |values| tensor(&values, &shape))
    })
}

fn any_tensors() -> impl Strategy<Value = BTreeMap<String, Tensor>> {
    prop::collection::btree_map("\\PC{0,12}", any_tensor(), 0..6)
}

fn any_state() -> impl Strategy<Value = Value> {
    let finite = any::<f64>().prop_filter("finite", |value| value.is_finite());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        finite.prop_map(Value::from),
        "\\PC*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC*", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_checkpoint_round_trips(
        step in any::<u64>(), model in any_tensors(), training in any_tensors(), state in any_state(),
    ) {
        let dir = tempfile::tempdir().expect("temp dir");
        let saved = Checkpoint { step, description: description(step), model, training, state };
        let path = saved.save(dir.path()).expect("room");
        assert_same(&Checkpoint::load(&path).expect("valid"), &saved);
    }

    #[test]
    fn any_model_file_is_read_by_the_reference_implementation(tensors in any_tensors()) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("m.safetensors");
        write_model(&path, &description(1), &tensors).expect("room");
        let bytes = fs::read(&path).expect("readable");
        let read = safetensors::SafeTensors::deserialize(&bytes).expect("well-formed");
        prop_assert_eq!(read.len(), tensors.len());
        for (name, tensor) in &tensors {
            let view = read.tensor(name).expect("it exists");
            prop_assert_eq!(view.shape(), tensor.dims());
        }
    }
}
