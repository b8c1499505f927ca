//! Intervals, subsets and the extrapolation: their statistics, and that they depend on the seed alone.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod golden_features;

use ddpm_metrics::{
    BootstrapConfig, BootstrapInterval, CellDistances, ExtrapolationConfig, FeatureStatistics, Features,
    InceptionScoreConfig, KernelDistanceConfig, KernelSubsets, PolynomialKernel, SampleOrder, data_copying,
    data_copying_over_cells, extrapolate_frechet_distance, frechet_distance, frechet_distance_bootstrap,
    inception_score, inception_score_bootstrap, kernel_distance, kernel_distance_bootstrap, precision_recall,
    precision_recall_bootstrap,
};
use golden_features::{assert_close, features};

const CONFIG: BootstrapConfig = BootstrapConfig { resamples: 200, level: 0.9, seed: 3 };

/// The metrics of independent sets of samples, whose standard deviation an interval estimates.
fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

/// Asserts that an interval is about the estimate and has the standard error of independent sets. With 60 sets and 200
/// resamples, the ratio of the two deviations has a standard error of 0.1 in theory, and of more here, because the
/// standard error of one set varies itself.
fn assert_interval(what: &str, interval: &BootstrapInterval, independent: &[f64]) {
    let ratio = interval.standard_error / deviation(independent);
    assert!((0.6..1.6).contains(&ratio), "{what}: {ratio} times the deviation of independent sets");
    let (low, high) = interval.without_bias();
    assert!(low < interval.estimate && interval.estimate < high, "{what}: {interval:?}");
    // The central 90 % of a normal distribution are 3.29 standard deviations wide.
    let width = (high - low) / interval.standard_error;
    assert!((2.6..4.0).contains(&width), "{what}: {width} standard errors wide");
    assert_eq!((interval.level, interval.resamples), (0.9, 200));
}

#[test]
fn intervals_have_the_standard_error_of_independent_samples() {
    let reference = features(100, 2000, 4, 0.1);
    let statistics = FeatureStatistics::of(&reference).unwrap();
    let sets: Vec<Features> = (0..60).map(|i| features(200 + i * 7919, 200, 4, 0.0)).collect();
    let of_sets = |metric: &dyn Fn(&Features) -> f64| sets.iter().map(metric).collect::<Vec<f64>>();

    let fid = |set: &Features| frechet_distance(&FeatureStatistics::of(set).unwrap(), &statistics).unwrap().distance;
    let interval = frechet_distance_bootstrap(&sets[0], &statistics, &CONFIG).unwrap();
    assert_eq!(interval.estimate, fid(&sets[0]));
    assert_interval("FID", &interval, &of_sets(&fid));

    let scores = InceptionScoreConfig { splits: 2, order: SampleOrder::Given };
    let score = |set: &Features| inception_score(set, &scores).unwrap().mean;
    let interval = inception_score_bootstrap(&sets[0], &scores, &CONFIG).unwrap();
    assert_close("IS", interval.estimate, score(&sets[0]), 1e-15);
    assert_interval("IS", &interval, &of_sets(&score));

    // The second set of KID is resampled too, so it must vary here too.
    let others: Vec<Features> = (0..60).map(|i| features(900_000 + i * 104_729, 150, 4, 0.1)).collect();
    let config = KernelDistanceConfig::all_samples();
    let kid = |(a, b): (&Features, &Features)| kernel_distance(a, b, &config).unwrap().mean;
    let interval = kernel_distance_bootstrap(&sets[0], &others[0], &config.kernel, &CONFIG).unwrap();
    assert_close("KID", interval.estimate, kid((&sets[0], &others[0])), 1e-12);
    let independent: Vec<f64> = sets.iter().zip(&others).map(kid).collect();
    assert_interval("KID", &interval, &independent);
    // Without pairs of a sample with itself, resamples have no bias: 0.23 standard errors is three of their own.
    assert!(interval.bias.abs() < 0.23 * interval.standard_error, "{interval:?}");
}

#[test]
fn intervals_of_precision_and_recall_are_those_of_shares() {
    let (generated, references) = (features(1, 300, 12, 0.0), features(2, 250, 12, 0.05));
    let shares = precision_recall(&generated, &references, 3).unwrap();
    let intervals = precision_recall_bootstrap(&generated, &references, 3, &CONFIG).unwrap();
    for (interval, share, count) in
        [(intervals.precision, shares.precision, 300.0), (intervals.recall, shares.recall, 250.0)]
    {
        assert_close("share", interval.estimate, share, 1e-14);
        // A binomial share; 200 resamples know its deviation to 5 %.
        let expected = f64::sqrt(share * (1.0 - share) / count);
        assert_close("standard error", interval.standard_error, expected, 0.2);
        assert!(interval.low < share && share < interval.high);
    }
}

#[test]
fn subsets_of_one_size_are_those_of_the_samples() {
    // Every resample of equal rows is the set itself, so the whole interval is one value.
    let equal = Features::new([1.0, 2.0].repeat(5), 2).unwrap();
    let reference = FeatureStatistics::of(&features(9, 50, 2, 0.0)).unwrap();
    let interval = frechet_distance_bootstrap(&equal, &reference, &CONFIG).unwrap();
    assert_close("low", interval.low, interval.estimate, 1e-12);
    assert_close("high", interval.high, interval.estimate, 1e-12);
    let interval = kernel_distance_bootstrap(&equal, &equal, &PolynomialKernel::cubic(), &CONFIG).unwrap();
    assert!(interval.estimate.abs() < 1e-12 && interval.low.abs() < 1e-12 && interval.high.abs() < 1e-12);
}

#[test]
fn the_extrapolation_removes_the_bias_of_few_samples() {
    // Independent values of one distribution: the distance of infinitely many samples is 0.
    let independent =
        |seed: u64, rows: usize| Features::new(features(seed, rows * 16, 1, 0.0).values().to_vec(), 16).unwrap();
    let reference = FeatureStatistics::of(&independent(11, 100_000)).unwrap();
    let samples = independent(12, 2000);
    let config = ExtrapolationConfig { points: 15, smallest: 200, seed: 5 };
    let found = extrapolate_frechet_distance(&samples, &reference, &config).unwrap();
    assert_eq!((found.sizes[0], found.sizes[14], found.distances.len()), (200, 2000, 15));
    let whole = frechet_distance(&FeatureStatistics::of(&samples).unwrap(), &reference).unwrap().distance;
    // The last subset is the whole set, by a formula whose errors are √ε times the traces, a thousand times the result.
    assert_close("all samples", found.distances[14], whole, 1e-9);
    // The bias of the mean alone is the trace of the covariance, 16 / 12, over n.
    assert!(found.slope > 16.0 / 12.0 && found.at_infinity.abs() < 0.2 * whole, "{found:?}, {whole}");
}

#[test]
fn distances_of_subsets_with_fewer_samples_than_dimensions_are_exact() {
    let reference = FeatureStatistics::of(&features(2, 300, 12, 0.05)).unwrap();
    let samples = features(1, 300, 12, 0.0);
    let config = ExtrapolationConfig { points: 2, smallest: 299, seed: 0 };
    let found = extrapolate_frechet_distance(&samples, &reference, &config).unwrap();
    let whole = frechet_distance(&FeatureStatistics::of(&samples).unwrap(), &reference).unwrap().distance;
    assert_close("all of 300 samples", found.distances[1], whole, 1e-12);
    let few = features(3, 7, 12, 0.0);
    let config = ExtrapolationConfig { points: 2, smallest: 6, seed: 0 };
    let found = extrapolate_frechet_distance(&few, &reference, &config).unwrap();
    let whole = frechet_distance(&FeatureStatistics::of(&few).unwrap(), &reference).unwrap().distance;
    assert_close("all of 7 samples", found.distances[1], whole, 1e-12);
}

#[test]
fn kernel_distances_of_subsets_average_to_that_of_all_samples() {
    let (x, y) = (features(1, 300, 12, 0.0), features(2, 300, 12, 0.05));
    let config = KernelDistanceConfig::all_samples();
    let all = kernel_distance(&x, &y, &config).unwrap().mean;
    let subsets = KernelSubsets::Random { count: 400, size: 50, seed: 1 };
    let found = kernel_distance(&x, &y, &KernelDistanceConfig { subsets, ..config }).unwrap();
    // Five standard errors of a mean of 400 subsets.
    assert!((found.mean - all).abs() < 5.0 * found.standard_deviation / 20.0, "{found:?} and {all}");
    assert!(found.standard_deviation > 0.0 && found.subsets == 400);
}

#[test]
fn cells_are_weighted_by_their_held_out_images() {
    let (a, b) = ([0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.6]);
    let cells = [
        CellDistances { generated: &a, held_out: &b },
        CellDistances { generated: &b, held_out: &a },
        CellDistances { generated: &[], held_out: &a },
    ];
    let z = data_copying(&a, &b).unwrap().z_score;
    let found = data_copying_over_cells(&cells).unwrap();
    assert!((found - (3.0 * z - 4.0 * z) / 7.0).abs() < 1e-14 && z < -1.0, "{found} and {z}");
}

/// Every result that is computed in parallel or drawn.
fn everything() -> Vec<f64> {
    let (x, y) = (features(1, 700, 12, 0.0), features(2, 600, 12, 0.05));
    let statistics = FeatureStatistics::of(&y).unwrap();
    let config = BootstrapConfig { resamples: 20, level: 0.9, seed: 3 };
    let subsets = KernelSubsets::Random { count: 10, size: 300, seed: 1 };
    let kernel = PolynomialKernel::cubic();
    let kid = kernel_distance(&x, &y, &KernelDistanceConfig { kernel, subsets }).unwrap();
    let all = kernel_distance(&x, &y, &KernelDistanceConfig::all_samples()).unwrap();
    let scores = InceptionScoreConfig { splits: 3, order: SampleOrder::Shuffled { seed: 4 } };
    let extrapolation = ExtrapolationConfig { points: 5, smallest: 100, seed: 5 };
    let intervals = [
        frechet_distance_bootstrap(&x, &statistics, &config).unwrap(),
        kernel_distance_bootstrap(&x, &y, &kernel, &config).unwrap(),
        inception_score_bootstrap(&x, &scores, &config).unwrap(),
        precision_recall_bootstrap(&x, &y, 3, &config).unwrap().precision,
    ];
    let mut results = vec![kid.mean, kid.standard_deviation, all.mean, inception_score(&x, &scores).unwrap().mean];
    results.extend(intervals.iter().flat_map(|i| [i.estimate, i.low, i.high, i.standard_error]));
    results.extend(extrapolate_frechet_distance(&x, &statistics, &extrapolation).unwrap().distances);
    results.extend(statistics.covariance());
    results
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let with =
        |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(everything);
    let one = with(1);
    assert_eq!(one, with(3));
    assert_eq!(one, with(8));
}

#[test]
fn another_seed_draws_other_samples() {
    let (x, y) = (features(1, 300, 12, 0.0), features(2, 300, 12, 0.05));
    let with = |seed: u64| {
        let subsets = KernelSubsets::Random { count: 3, size: 100, seed };
        kernel_distance(&x, &y, &KernelDistanceConfig { kernel: PolynomialKernel::cubic(), subsets }).unwrap().mean
    };
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
    let scores = |seed| InceptionScoreConfig { splits: 5, order: SampleOrder::Shuffled { seed } };
    let score = |seed| inception_score(&x, &scores(seed)).unwrap();
    assert_eq!(score(1), score(1));
    assert_ne!(score(1), score(2));
}
