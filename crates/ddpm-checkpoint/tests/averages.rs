//! Averages of the weights: further ones in a checkpoint, and those that a run stores for post-hoc EMA.

mod fixture;

use std::collections::BTreeMap;

use ddpm_checkpoint::{
    Checkpoint, PARAMETER_PREFIX, RunDir, TrainingWeights, WeightAverage, ema_prefix, list_weight_averages,
    power_ema_prefix,
};
use fixture::{bits, checkpoint, flip, names, tensor};

#[test]
fn stored_averages_are_listed_read_and_discarded() {
    let dir = tempfile::tempdir().expect("temp dir");
    let run = RunDir::create(dir.path().join("run")).expect("new");
    assert!(list_weight_averages(run.path()).expect("none").is_empty());
    let average = |sigma_rel: f64, step: u64| WeightAverage {
        sigma_rel,
        tensors: BTreeMap::from([("w".to_owned(), tensor(&[step as f32, sigma_rel as f32], &[2]))]),
    };
    for step in [1000, 500, 1500] {
        run.save_averages(step, &[average(0.05, step), average(0.1, step)]).expect("room");
    }
    let stored = list_weight_averages(run.path()).expect("valid");
    let profiles: Vec<_> = stored.iter().map(|stored| (stored.step, stored.sigma_rel)).collect();
    assert_eq!(profiles, [(500, 0.05), (500, 0.1), (1000, 0.05), (1000, 0.1), (1500, 0.05), (1500, 0.1)]);
    assert_eq!(bits(&stored[3].load().expect("valid")), bits(&average(0.1, 1000).tensors));

    run.discard_averages_after(1000).expect("allowed");
    assert_eq!(names(&run.path().join("averages")), ["step-000500", "step-001000"]);

    let file = run.path().join("averages/step-000500/sigma-0.1.safetensors");
    flip(&file, 0);
    let error = stored[1].load().expect_err("flipped").to_string();
    assert!(error.contains("sigma-0.1.safetensors is damaged"), "{error}");
    std::fs::remove_file(&file).expect("there");
    assert!(list_weight_averages(run.path()).expect_err("missing").to_string().contains("it is missing"));
}

#[test]
fn sets_of_weights_are_told_apart() {
    let dir = tempfile::tempdir().expect("temp dir");
    let mut saved = checkpoint(10);
    let prefixes = [PARAMETER_PREFIX.to_owned(), ema_prefix(0.999), ema_prefix(0.9999), power_ema_prefix(0.05)];
    for (value, prefix) in prefixes.iter().enumerate() {
        saved.training.insert(format!("{prefix}downs.0.weight"), tensor(&[value as f32], &[1]));
    }
    let directory = saved.save(dir.path()).expect("room");
    let weights = TrainingWeights::load(&directory).expect("valid");
    assert_eq!(weights.decays(), [0.999, 0.9999]);
    let value = |tensors: ddpm_checkpoint::Tensors| {
        assert_eq!(tensors.keys().collect::<Vec<_>>(), ["downs.0.weight"]);
        tensors["downs.0.weight"].to_vec1::<f32>().expect("f32")[0]
    };
    assert_eq!(value(weights.trained()), 0.0);
    assert_eq!(value(weights.average(0.999)), 1.0);
    assert_eq!(value(weights.average(0.9999)), 2.0);
    assert!(weights.average(0.99).is_empty());
    flip(&directory.join("training.safetensors"), 0);
    assert!(TrainingWeights::load(&directory).expect_err("flipped").to_string().contains("training.safetensors"));
    Checkpoint::load(&directory).expect_err("flipped");
}
