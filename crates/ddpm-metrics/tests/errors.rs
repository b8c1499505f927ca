//! Every invalid argument is an error that says what was found and what was expected.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use ddpm_metrics::{
    BootstrapConfig, CellDistances, ExtrapolationConfig, FeatureStatistics, Features, InceptionScoreConfig,
    KernelDistanceConfig, KernelSubsets, MetricsError, PolynomialKernel, SampleOrder, StatisticsAccumulator,
    data_copying, data_copying_over_cells, extrapolate_frechet_distance, frechet_distance, frechet_distance_bootstrap,
    inception_score, kernel_distance, nearest_neighbors, nearest_neighbors_within, nearest_to_mean_ratio,
    nearest_to_second_ratio, precision_recall,
};

fn message<T: std::fmt::Debug>(result: Result<T, MetricsError>) -> String {
    result.unwrap_err().to_string()
}

fn line(values: &[f32]) -> Features {
    Features::new(values.to_vec(), 1).unwrap()
}

#[test]
fn of_features() {
    assert_eq!(message(Features::new(vec![], 3)), "features have no rows, expected at least one");
    assert_eq!(message(Features::new(vec![1.0], 0)), "features have width 0, expected at least one value a row");
    assert_eq!(message(Features::new(vec![1.0; 7], 3)), "7 values do not fill rows of width 3");
    let infinite = Features::new(vec![0.0, 1.0, 2.0, f32::NEG_INFINITY], 2);
    assert_eq!(message(infinite), "row 1, column 1 is -inf, expected a finite number");
    let rows = Features::from_rows(&[vec![1.0, 2.0], vec![3.0]]);
    assert_eq!(message(rows), "row 1 has width 1, expected 2 as in row 0");
    assert_eq!(message(Features::from_rows::<[f32; 0]>(&[])), "features have no rows, expected at least one");
    assert_eq!(message(line(&[1.0]).select(&[])), "features have no rows, expected at least one");
    let wide = Features::new(vec![1.0, 2.0], 2).unwrap();
    let widths = "features of width 2 cannot be compared with features of width 1";
    assert_eq!(message(wide.clone().append(&line(&[1.0]))), widths);
}

#[test]
fn of_statistics() {
    let mut accumulator = StatisticsAccumulator::new(1);
    let wide = Features::new(vec![1.0, 2.0], 2).unwrap();
    let widths = "features of width 1 cannot be compared with features of width 2";
    assert_eq!(message(accumulator.add(&wide)), widths);
    assert_eq!(message(accumulator.merge(&StatisticsAccumulator::new(2))), widths);
    assert_eq!(message(accumulator.finish()), "a covariance: found 0 samples, expected at least 2");
    let lengths = FeatureStatistics::new(vec![0.0; 2], vec![1.0; 3], None);
    assert_eq!(message(lengths), "sigma: found 3 values, expected 2 x 2 as mu has 2");
    let empty = FeatureStatistics::new(vec![], vec![], None);
    assert_eq!(message(empty), "features have width 0, expected at least one value a row");
    // The variances are positive, yet the matrix has the eigenvalue -1.
    let indefinite = FeatureStatistics::new(vec![0.0; 2], vec![1.0, 2.0, 2.0, 1.0], None).unwrap();
    let error = message(frechet_distance(&indefinite, &indefinite));
    assert!(error.starts_with("sigma: the smallest eigenvalue is -") && error.ends_with("expected none below 0"));
}

#[test]
fn of_metrics() {
    let (two, wide) = (line(&[0.0, 1.0]), Features::new(vec![1.0, 2.0], 2).unwrap());
    let widths = "features of width 1 cannot be compared with features of width 2";
    let all = KernelDistanceConfig::all_samples();
    assert_eq!(message(kernel_distance(&two, &wide, &all)), widths);
    assert_eq!(message(precision_recall(&two, &wide, 1)), widths);
    assert_eq!(message(nearest_neighbors(&two, &wide, 1)), widths);

    assert_eq!(message(kernel_distance(&two, &line(&[0.0]), &all)), "KID: found 1 samples, expected at least 2");
    let subsets = |count, size| KernelDistanceConfig { subsets: KernelSubsets::Random { count, size, seed: 0 }, ..all };
    let kid = |config| message(kernel_distance(&two, &two, &config));
    assert_eq!(kid(subsets(0, 2)), "the number of subsets is 0, expected at least 1");
    assert_eq!(kid(subsets(1, 1)), "the size of a subset is 1, expected at least 2");
    assert_eq!(kid(subsets(1, 3)), "a subset of KID: found 2 samples, expected at least 3");
    let kernel =
        |degree, gamma, coef0| KernelDistanceConfig { kernel: PolynomialKernel { degree, gamma, coef0 }, ..all };
    assert_eq!(kid(kernel(0, None, 1.0)), "degree is 0, expected at least 1");
    assert_eq!(kid(kernel(3, Some(0.0), 1.0)), "gamma is 0, expected a positive number");
    assert_eq!(kid(kernel(3, None, f64::NAN)), "coef0 is NaN, expected a finite number");

    let splits = |splits| InceptionScoreConfig { splits, order: SampleOrder::Given };
    assert_eq!(message(inception_score(&two, &splits(0))), "the number of splits is 0, expected at least 1");
    let error = "the splits of the Inception Score: found 2 samples, expected at least 3";
    assert_eq!(message(inception_score(&two, &splits(3))), error);

    assert_eq!(message(precision_recall(&two, &two, 0)), "the number of neighbors is 0, expected at least 1");
    let error = "nearest neighbors: found 2 samples, expected at least 3";
    assert_eq!(message(precision_recall(&two, &two, 2)), error);
    assert_eq!(message(nearest_neighbors(&two, &two, 3)), error);
    assert_eq!(message(nearest_neighbors_within(&two, 2)), error);
    let one = nearest_neighbors(&two, &two, 1).unwrap();
    let error = "the second nearest neighbor: found 1 samples, expected at least 2";
    assert_eq!(message(nearest_to_second_ratio(&one)), error);
    assert_eq!(message(nearest_to_mean_ratio(&one, 0.0)), "alpha is 0, expected a positive number");

    let error = "distances of generated samples: found 0 samples, expected at least 1";
    assert_eq!(message(data_copying(&[], &[1.0])), error);
    let error = "row 1, column 0 is NaN, expected a finite number";
    assert_eq!(message(data_copying(&[1.0], &[1.0, f64::NAN])), error);
    let cell = CellDistances { generated: &[], held_out: &[1.0] };
    let error = "cells with distances of both sets: found 0 samples, expected at least 1";
    assert_eq!(message(data_copying_over_cells(&[cell])), error);
}

#[test]
fn of_intervals_and_extrapolation() {
    let three = line(&[0.0, 1.0, 2.0]);
    let reference = FeatureStatistics::of(&three).unwrap();
    let bootstrap = |resamples, level| {
        message(frechet_distance_bootstrap(&three, &reference, &BootstrapConfig { resamples, level, seed: 0 }))
    };
    assert_eq!(bootstrap(1, 0.9), "the number of resamples is 1, expected at least 2");
    assert_eq!(bootstrap(2, 1.0), "the level is 1, expected a number in (0, 1)");
    let extrapolate = |points, smallest| {
        message(extrapolate_frechet_distance(&three, &reference, &ExtrapolationConfig { points, smallest, seed: 0 }))
    };
    assert_eq!(extrapolate(1, 2), "the number of subset sizes is 1, expected at least 2");
    assert_eq!(extrapolate(2, 1), "the smallest subset is 1, expected at least 2");
    assert_eq!(extrapolate(2, 3), "the extrapolation of FID: found 3 samples, expected at least 4");
}
