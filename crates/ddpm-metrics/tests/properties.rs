//! Identities that hold for all features.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use ddpm_metrics::{
    FeatureStatistics, Features, InceptionScoreConfig, KernelDistanceConfig, SampleOrder, StatisticsAccumulator,
    data_copying, frechet_distance, inception_score, kernel_distance, nearest_neighbors, precision_recall,
};
use proptest::prelude::*;

/// Features with a common offset that is up to a million times their spread.
fn sets() -> impl Strategy<Value = Features> {
    (1usize..6, 2usize..40, -1e3..1e3f32).prop_flat_map(|(width, rows, offset)| {
        let values = prop::collection::vec(-1f32..1.0, width * rows);
        values.prop_map(move |values| Features::new(values.iter().map(|v| v + offset).collect(), width).unwrap())
    })
}

/// Two sets of the same width, with values on a coarse grid so that distances are often equal.
fn pairs_on_a_grid() -> impl Strategy<Value = (Features, Features)> {
    (1usize..4, 4usize..40, 4usize..40).prop_flat_map(|(width, rows, others)| {
        let values = |rows: usize| prop::collection::vec((-4i8..4).prop_map(f32::from), width * rows);
        (values(rows), values(others))
            .prop_map(move |(a, b)| (Features::new(a, width).unwrap(), Features::new(b, width).unwrap()))
    })
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum()
}

/// The squared distance of each row to its k-th nearest other row.
fn radii(features: &Features, k: usize) -> Vec<f64> {
    let of_row = |i: usize| {
        let others = (0..features.rows()).filter(|&j| j != i);
        let mut distances: Vec<f64> = others.map(|j| squared_distance(features.row(i), features.row(j))).collect();
        distances.sort_by(f64::total_cmp);
        distances[k - 1]
    };
    (0..features.rows()).map(of_row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_and_merged_parts_give_the_two_pass_covariance(set in sets(), first in 0usize..40, second in 0usize..40) {
        let (rows, width) = (set.rows(), set.width());
        let (a, b) = (first.min(second).min(rows), first.max(second).min(rows));
        let part = |range: std::ops::Range<usize>| set.select(&range.collect::<Vec<_>>());
        let (mut left, mut right) = (StatisticsAccumulator::new(width), StatisticsAccumulator::new(width));
        // Empty parts are errors of `select` and are left out.
        let add = |accumulator: &mut StatisticsAccumulator, range| {
            if let Ok(part) = part(range) {
                accumulator.add(&part).unwrap();
            }
        };
        add(&mut left, 0..a);
        add(&mut left, a..b);
        add(&mut right, b..rows);
        left.merge(&right).unwrap();
        prop_assert_eq!(left.count(), rows as u64);
        let found = left.finish().unwrap();

        let mean = |column: usize| (0..rows).map(|i| f64::from(set.row(i)[column])).sum::<f64>() / rows as f64;
        let means: Vec<f64> = (0..width).map(mean).collect();
        for i in 0..width {
            prop_assert!((found.mean()[i] - means[i]).abs() < 1e-12 * means[i].abs().max(1.0));
            for j in 0..width {
                let product = |row: &[f32]| (f64::from(row[i]) - means[i]) * (f64::from(row[j]) - means[j]);
                let expected = (0..rows).map(|k| product(set.row(k))).sum::<f64>() / (rows - 1) as f64;
                let error = (found.covariance()[i * width + j] - expected).abs();
                prop_assert!(error < 1e-12, "[{}, {}]: {}", i, j, error);
            }
        }
    }

    #[test]
    fn a_shifted_set_has_the_squared_shift_as_its_distance(set in sets(), shift in -8i8..8) {
        // The mean of shifted f32 values differs by rounding of the values, so the statistics are shifted.
        let statistics = FeatureStatistics::of(&set).unwrap();
        let mean = statistics.mean().iter().map(|value| value + f64::from(shift)).collect();
        let shifted = FeatureStatistics::new(mean, statistics.covariance().to_vec(), None).unwrap();
        let distance = frechet_distance(&statistics, &shifted).unwrap();
        let expected = f64::from(shift).powi(2) * set.width() as f64;
        prop_assert!((distance.distance - expected).abs() < 1e-9, "{:?} and {}", distance, expected);
        prop_assert!(distance.covariance_term.abs() < 1e-12);
    }

    #[test]
    fn metrics_are_symmetric_and_in_their_ranges((x, y) in pairs_on_a_grid()) {
        let config = KernelDistanceConfig::all_samples();
        let kid = |a, b| kernel_distance(a, b, &config).unwrap().mean;
        let scale = 1e-12 * 17f64.powi(3);
        prop_assert!((kid(&x, &y) - kid(&y, &x)).abs() < scale);
        let (a, b) = (FeatureStatistics::of(&x).unwrap(), FeatureStatistics::of(&y).unwrap());
        let (ab, ba) = (frechet_distance(&a, &b).unwrap(), frechet_distance(&b, &a).unwrap());
        prop_assert!((ab.distance - ba.distance).abs() < 1e-10 && ab.distance > -1e-10);
        let config = InceptionScoreConfig { splits: 2, order: SampleOrder::Shuffled { seed: 1 } };
        let score = inception_score(&x, &config).unwrap().mean;
        prop_assert!(score >= 1.0 && score <= x.width() as f64 + 1e-9);
    }

    #[test]
    fn kernel_distances_are_those_of_direct_loops((x, y) in pairs_on_a_grid()) {
        let kernel = |a: &[f32], b: &[f32]| {
            let product: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            (product / a.len() as f64 + 1.0).powi(3)
        };
        let sum = |a: &Features, b: &Features, same: bool| -> f64 {
            let pairs = (0..a.rows()).flat_map(|i| (0..b.rows()).map(move |j| (i, j)));
            pairs.filter(|(i, j)| !same || i != j).map(|(i, j)| kernel(a.row(i), b.row(j))).sum()
        };
        let (m, n) = (x.rows() as f64, y.rows() as f64);
        let within = sum(&x, &x, true) / (m * (m - 1.0)) + sum(&y, &y, true) / (n * (n - 1.0));
        let expected = within - 2.0 * sum(&x, &y, false) / (m * n);
        let found = kernel_distance(&x, &y, &KernelDistanceConfig::all_samples()).unwrap().mean;
        // The kernel is at most 17³ here.
        prop_assert!((found - expected).abs() < 1e-12 * 17f64.powi(3), "{} and {}", found, expected);
    }

    #[test]
    fn neighbors_and_coverage_are_those_of_direct_loops((x, y) in pairs_on_a_grid(), k in 1usize..4) {
        let found = nearest_neighbors(&x, &y, k).unwrap();
        for i in 0..x.rows() {
            let mut expected: Vec<(f64, usize)> =
                (0..y.rows()).map(|j| (squared_distance(x.row(i), y.row(j)), j)).collect();
            expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let (distances, indices): (Vec<f64>, Vec<usize>) = expected[..k].iter().copied().unzip();
            prop_assert_eq!((found.squared_distances(i), found.indices(i)), (&distances[..], &indices[..]));
        }
        let result = precision_recall(&x, &y, k).unwrap();
        let share = |points: &Features, centers: &Features| {
            let radii = radii(centers, k);
            let covered = |i: &usize| {
                (0..centers.rows()).any(|j| squared_distance(points.row(*i), centers.row(j)) <= radii[j])
            };
            (0..points.rows()).filter(covered).count() as f64 / points.rows() as f64
        };
        prop_assert_eq!((result.precision, result.recall), (share(&x, &y), share(&y, &x)));
    }

    #[test]
    fn copying_counts_pairs(
        generated in prop::collection::vec((0u8..9).prop_map(f64::from), 1..20),
        held_out in prop::collection::vec((0u8..9).prop_map(f64::from), 1..20),
    ) {
        let found = data_copying(&generated, &held_out).unwrap();
        let pair = |q: f64, p: f64| if q > p { 1.0 } else if q == p { 0.5 } else { 0.0 };
        let u: f64 = generated.iter().flat_map(|&q| held_out.iter().map(move |&p| pair(q, p))).sum();
        prop_assert_eq!(found.u, u);
        let swapped = data_copying(&held_out, &generated).unwrap();
        prop_assert!((found.z_score + swapped.z_score).abs() < 1e-12);
    }
}
