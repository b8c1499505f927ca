//! The metrics against torch-fidelity, SciPy, NumPy and a computation with 60 digits, on the same features.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod golden_features;
mod golden_files;

use ddpm_metrics::{
    FeatureStatistics, Features, InceptionScoreConfig, KernelDistanceConfig, KernelSubsets, PolynomialKernel,
    SampleOrder, data_copying, frechet_distance, inception_score, kernel_distance, precision_recall,
};
use golden_features::{assert_close, features};
use golden_files::results;

fn sets() -> [Features; 4] {
    [features(1, 300, 12, 0.0), features(2, 300, 12, 0.05), features(3, 7, 12, 0.0), features(4, 9, 12, 0.05)]
}

#[test]
fn mean_and_covariance_are_those_of_numpy() {
    let (results, [x, ..]) = (results(), sets());
    let statistics = FeatureStatistics::of(&x).unwrap();
    for (name, found) in [("mean", statistics.mean()), ("covariance", statistics.covariance())] {
        let expected = results[name].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        // Sums of 300 values in another order; 0.08 is the largest element.
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected.as_f64().unwrap()).abs() < 1e-15, "{name}: {found} and {expected}");
        }
    }
}

#[test]
fn frechet_distances_are_those_of_torch_fidelity_and_scipy() {
    let (results, sets) = (results(), sets());
    let [x, y, few_x, few_y] = sets.each_ref().map(|set| FeatureStatistics::of(set).unwrap());
    for (name, a, b) in [("frechet", &x, &y), ("frechet_few", &few_x, &few_y), ("frechet_few_and_many", &few_x, &y)] {
        let results = &results[name];
        for (first, second) in [(a, b), (b, a)] {
            let found = frechet_distance(first, second).unwrap();
            assert_eq!(found.distance, found.mean_term + found.covariance_term);
            // The trace of the root has errors of ε times the traces, which are twice the distance.
            let expected = results["symmetric_60_digits"].as_f64().unwrap();
            assert_close(name, found.distance, expected, 1e-12);
            // Torch-fidelity and SciPy take the root of a product. With singular covariances they have errors of √ε.
            let tolerance = if name == "frechet" { 1e-12 } else { 2e-8 };
            for reference in ["torch_fidelity", "scipy"] {
                assert_close(name, found.distance, results[reference].as_f64().unwrap(), tolerance);
            }
        }
    }
    let found = frechet_distance(&few_x, &few_y).unwrap();
    let expected = results["frechet_few"]["features_60_digits"].as_f64().unwrap();
    assert_close("from the features with 60 digits", found.distance, expected, 1e-12);
}

#[test]
fn kernel_distances_are_those_of_torch_fidelity() {
    let (results, [x, y, ..]) = (results(), sets());
    let config = KernelDistanceConfig::all_samples();
    let found = kernel_distance(&x, &y, &config).unwrap();
    // The sums of the kernel are near 1 and their difference near 0.005.
    assert_close("KID", found.mean, results["kid"].as_f64().unwrap(), 1e-12);
    assert_eq!((found.standard_deviation, found.subsets), (0.0, 1));

    // A random subset of all samples is the same set in another order.
    let subsets = KernelSubsets::Random { count: 2, size: 300, seed: 7 };
    let found = kernel_distance(&x, &y, &KernelDistanceConfig { subsets, ..config }).unwrap();
    assert_close("KID of permuted samples", found.mean, results["kid"].as_f64().unwrap(), 1e-12);
    assert!(found.standard_deviation < 1e-14);

    let kernel = PolynomialKernel { degree: 2, gamma: Some(0.25), coef0: 0.5 };
    let found = kernel_distance(&x, &y, &KernelDistanceConfig { kernel, ..config }).unwrap();
    assert_close("another kernel", found.mean, results["kid_other_kernel"].as_f64().unwrap(), 1e-12);
}

#[test]
fn inception_scores_are_those_of_torch_fidelity() {
    let results = results();
    let logits = features(5, 203, 10, 0.0);
    let values: Vec<f32> = logits.values().iter().map(|value| value * 64.0).collect();
    let logits = Features::new(values, 10).unwrap();
    for (name, splits) in [("inception_score", 10), ("inception_score_one_split", 1)] {
        let config = InceptionScoreConfig { splits, order: SampleOrder::Given };
        let found = inception_score(&logits, &config).unwrap();
        assert_close(name, found.mean, results[name][0].as_f64().unwrap(), 1e-13);
        assert_close(name, found.standard_deviation, results[name][1].as_f64().unwrap(), 1e-11);
    }
}

#[test]
fn precision_and_recall_are_those_of_torch_fidelity() {
    let (results, [x, y, ..]) = (results(), sets());
    for neighbors in [1, 3, 5] {
        let found = precision_recall(&x, &y, neighbors).unwrap();
        let expected = &results["precision_recall"][neighbors.to_string()];
        let counts = [found.precision, found.recall].map(|share| (share * 300.0).round() as u64);
        assert_eq!(counts, [0, 1].map(|i| expected[i].as_u64().unwrap()), "k = {neighbors}");
        // Not all and none, which many errors would not change.
        assert!(counts.iter().all(|count| (10..290).contains(count)), "k = {neighbors}: {counts:?}");
    }
}

#[test]
fn the_statistic_of_copying_is_that_of_scipy() {
    let results = results();
    let distances = |i: usize| -> Vec<f64> {
        results["distances"][i].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let found = data_copying(&distances(0), &distances(1)).unwrap();
    let expected = &results["mann_whitney"];
    assert_eq!(found.u, expected[0].as_f64().unwrap());
    // The z of SciPy goes through a probability and back.
    assert_close("z", found.z_score, expected[1].as_f64().unwrap(), 1e-9);
    assert_close("share", found.share_closer, 1.0 - found.u / 2400.0, 1e-14);
}
