//! Fréchet distances and neighbors whose values are known, and features near the limits of f32.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use ddpm_metrics::{
    FeatureStatistics, Features, StatisticsAccumulator, frechet_distance, nearest_neighbors, nearest_neighbors_within,
    nearest_to_mean_ratio, nearest_to_second_ratio, precision_recall,
};

/// Statistics with mean 0 and this covariance.
fn centered(covariance: Vec<f64>) -> FeatureStatistics {
    FeatureStatistics::new(vec![0.0; covariance.len().isqrt()], covariance, None).unwrap()
}

fn diagonal(values: &[f64]) -> Vec<f64> {
    let width = values.len();
    (0..width * width).map(|i| if i % (width + 1) == 0 { values[i / width] } else { 0.0 }).collect()
}

/// H diag(values) H for the reflection H = I − 2 v vᵀ / vᵀv, v = (1, 2, 3, …): a dense matrix with these eigenvalues.
fn rotated(values: &[f64]) -> Vec<f64> {
    let width = values.len();
    let v: Vec<f64> = (1..=width).map(|i| i as f64).collect();
    let norm: f64 = v.iter().map(|x| x * x).sum();
    let h = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / norm;
    let element = |i: usize, j: usize| (0..width).map(|k| h(i, k) * values[k] * h(k, j)).sum();
    (0..width).flat_map(|i| (0..width).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
}

#[test]
fn commuting_covariances_have_the_distance_of_their_standard_deviations() {
    // Eigenvalues of either matrix are 0 in places, with a condition of 1e12 in the others.
    let (a, b) = ([4.0, 0.0, 1e-6, 9.0, 0.0, 1e6], [1.0, 2.0, 1e-6, 0.0, 0.0, 4e6]);
    let expected: f64 = a.iter().zip(&b).map(|(a, b): (&f64, &f64)| (a.sqrt() - b.sqrt()).powi(2)).sum();
    for matrix in [diagonal, rotated] {
        let found = frechet_distance(&centered(matrix(&a)), &centered(matrix(&b))).unwrap();
        // ε times the largest trace, 4e6, of a distance of 1e6.
        assert!((found.distance - expected).abs() < 1e-14 * 4e6 * 10.0, "{} and {expected}", found.distance);
    }
}

#[test]
fn a_covariance_of_zero_is_a_point() {
    let (point, other) = (centered(vec![0.0; 4]), centered(diagonal(&[2.0, 3.0])));
    assert_eq!(frechet_distance(&point, &other).unwrap().distance, 5.0);
    assert_eq!(frechet_distance(&point, &point).unwrap().distance, 0.0);
}

#[test]
fn sets_in_orthogonal_subspaces_have_no_common_trace() {
    // Three samples in ten dimensions span a plane; the two planes are orthogonal.
    let unit = |i: usize| (0..10).map(|j| f32::from(u8::from(i == j))).collect::<Vec<f32>>();
    let set = |i: usize| FeatureStatistics::of(&Features::from_rows(&[unit(i), unit(i + 1), unit(i + 2)]).unwrap());
    let found = frechet_distance(&set(0).unwrap(), &set(5).unwrap()).unwrap();
    // Each variance is 1/3, of three dimensions; the means are 1/3 in three dimensions each.
    assert!((found.covariance_term - 2.0).abs() < 1e-14 && (found.mean_term - 2.0 / 3.0).abs() < 1e-14);
}

#[test]
fn a_large_mean_does_not_cancel() {
    // Naive sums of squares of 2^23 lose all digits of a variance of 1/4 in f32 and five of them in f64.
    let offset = 8_388_608.0;
    let mut accumulator = StatisticsAccumulator::new(1);
    for _ in 0..1000 {
        accumulator.add(&Features::new(vec![offset, offset + 1.0], 1).unwrap()).unwrap();
    }
    let statistics = accumulator.finish().unwrap();
    assert!((statistics.covariance()[0] - 0.25 * 2000.0 / 1999.0).abs() < 1e-12);
    assert!((statistics.mean()[0] - 8_388_608.5).abs() < 1e-8);
}

#[test]
fn wide_features_have_the_covariance_of_their_columns() {
    // Column j is column 0 times (j % 7) − 3, in more columns than one thread takes and more rows than one block has.
    let (rows, width) = (700, 300);
    let first = |i: usize| ((i * 7919) % 1009) as f32;
    let value = |i: usize| first(i / width) * ((i % width % 7) as f32 - 3.0);
    let set = Features::new((0..rows * width).map(value).collect(), width).unwrap();
    let column = Features::new((0..rows).map(first).collect(), 1).unwrap();
    let variance = FeatureStatistics::of(&column).unwrap().covariance()[0];
    let statistics = FeatureStatistics::of(&set).unwrap();
    let factor = |j: usize| (j % 7) as f64 - 3.0;
    for (i, &found) in statistics.covariance().iter().enumerate() {
        let expected = variance * factor(i / width) * factor(i % width);
        assert!((found - expected).abs() < 1e-12 * 9.0 * variance, "element {i}: {found} and {expected}");
    }
}

#[test]
fn small_asymmetry_is_averaged() {
    let statistics = FeatureStatistics::new(vec![0.0; 2], vec![1.0, 0.5, 0.500_002, 1.0], None).unwrap();
    let [_, a, b, _] = statistics.covariance() else { panic!("four elements") };
    assert!(a == b && (a - 0.500_001).abs() < 1e-15, "{a} and {b}");
}

#[test]
fn the_largest_values_do_not_overflow() {
    let features = Features::new(vec![f32::MAX, f32::MIN, f32::MAX, 0.0], 1).unwrap();
    let statistics = FeatureStatistics::of(&features).unwrap();
    assert!(statistics.covariance()[0].is_finite());
    assert!(frechet_distance(&statistics, &statistics).unwrap().distance.abs() < 1e-12 * statistics.covariance()[0]);
}

#[test]
fn copies_far_from_the_center_have_distance_zero() {
    // Distances by products of values near 1e6 have errors near 1e-3; copies must be found all the same.
    let value = |i: usize| 1e6 + (i * 7919 % 1000) as f32 / 8.0;
    let training = Features::new((0..3000).map(value).collect(), 3).unwrap();
    let copies = training.select(&[999, 0, 500]).unwrap();
    let found = nearest_neighbors(&copies, &training, 2).unwrap();
    for (i, row) in [999, 0, 500].into_iter().enumerate() {
        assert_eq!((found.indices(i)[0], found.squared_distances(i)[0]), (row, 0.0));
        assert!(found.squared_distances(i)[1] > 0.0);
    }
    assert_eq!(nearest_to_second_ratio(&found).unwrap(), [0.0; 3]);
    assert_eq!(nearest_to_mean_ratio(&found, 0.5).unwrap(), [0.0; 3]);
    assert_eq!(precision_recall(&copies, &training, 1).unwrap().precision, 1.0);
}

#[test]
fn ratios_are_those_of_distances() {
    let training = Features::new(vec![0.0, 0.0, 4.0, 0.0, 0.0, 8.0], 2).unwrap();
    // The distances are 1, 3 and √65, and 3, 5 and 5.
    let samples = Features::new(vec![1.0, 0.0, 0.0, 3.0], 2).unwrap();
    let found = nearest_neighbors(&samples, &training, 3).unwrap();
    let second = nearest_to_second_ratio(&found).unwrap();
    assert_eq!(second, [1.0 / 3.0, 3.0 / 5.0]);
    let mean = nearest_to_mean_ratio(&found, 0.5).unwrap();
    let (nearest, means) = ([1.0, 3.0], [(1.0 + 3.0 + 65f64.sqrt()) / 3.0, (3.0 + 5.0 + 5.0) / 3.0]);
    for i in 0..2 {
        assert!((mean[i] - nearest[i] / (0.5 * means[i])).abs() < 1e-15);
    }
}

#[test]
fn duplicates_are_other_rows_and_equal_distances_keep_the_order_of_rows() {
    // More duplicates than a block of references has rows.
    let features = Features::new(vec![1.5; 2000], 1).unwrap();
    let found = nearest_neighbors_within(&features, 3).unwrap();
    assert_eq!(
        (found.indices(0), found.indices(1), found.indices(1999)),
        (&[1, 2, 3][..], &[0, 2, 3][..], &[0, 1, 2][..])
    );
    assert!(found.nearest_distances().iter().all(|&distance| distance == 0.0));
    assert!(nearest_to_second_ratio(&found).unwrap().iter().all(|&ratio| ratio == 1.0));
    // A radius of 0 covers an equal sample.
    let result = precision_recall(&features, &features, 1).unwrap();
    assert_eq!((result.precision, result.recall, result.f_score()), (1.0, 1.0, 1.0));
}
