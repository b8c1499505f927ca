//! Results and parameters as JSON, which other tools read.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use ddpm_metrics::{
    BootstrapConfig, BootstrapInterval, ExtrapolationConfig, FeatureStatistics, Features, InceptionScoreConfig,
    KernelDistanceConfig, SampleOrder, data_copying, frechet_distance, kernel_distance, nearest_neighbors,
    precision_recall,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, json: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), json);
    assert_eq!(&serde_json::from_str::<T>(json).unwrap(), value);
}

#[test]
fn results_are_plain_objects() {
    let features = Features::new(vec![0.0, 1.0, 2.0, 3.0], 1).unwrap();
    let statistics = FeatureStatistics::new(vec![0.0], vec![4.0], None).unwrap();
    let other = FeatureStatistics::new(vec![3.0], vec![4.0], None).unwrap();
    let distance = frechet_distance(&statistics, &other).unwrap();
    check(&distance, r#"{"distance":9.0,"mean_term":9.0,"covariance_term":0.0}"#);
    let ones = Features::new(vec![0.0; 2], 1).unwrap();
    let kid = kernel_distance(&ones, &ones, &KernelDistanceConfig::all_samples()).unwrap();
    check(&kid, r#"{"mean":0.0,"standard_deviation":0.0,"subsets":1}"#);
    let shares = precision_recall(&features, &features, 1).unwrap();
    check(&shares, r#"{"precision":1.0,"recall":1.0,"neighbors":1}"#);
    let neighbors = nearest_neighbors(&ones, &features, 1).unwrap();
    check(&neighbors, r#"{"neighbors":1,"indices":[0,0],"squared_distances":[0.0,0.0]}"#);
    check(&data_copying(&[1.0], &[1.0]).unwrap(), r#"{"share_closer":0.5,"u":0.5,"z_score":0.0}"#);
    let (estimate, low, high, bias, standard_error) = (2.0, 1.5, 3.5, 0.5, 1.0);
    let interval = BootstrapInterval { estimate, low, high, bias, standard_error, level: 0.9, resamples: 7 };
    check(
        &interval,
        r#"{"estimate":2.0,"low":1.5,"high":3.5,"bias":0.5,"standard_error":1.0,"level":0.9,"resamples":7}"#,
    );
}

#[test]
fn parameters_are_plain_objects() {
    check(&BootstrapConfig { resamples: 2, level: 0.5, seed: 1 }, r#"{"resamples":2,"level":0.5,"seed":1}"#);
    check(&ExtrapolationConfig::chong_forsyth(1), r#"{"points":15,"smallest":5000,"seed":1}"#);
    check(&InceptionScoreConfig::ten_splits(), r#"{"splits":10,"order":"given"}"#);
    check(&SampleOrder::Shuffled { seed: 2 }, r#"{"shuffled":{"seed":2}}"#);
    check(
        &KernelDistanceConfig::torch_fidelity(7),
        r#"{"kernel":{"degree":3,"gamma":null,"coef0":1.0},"subsets":{"random":{"count":100,"size":1000,"seed":7}}}"#,
    );
}
