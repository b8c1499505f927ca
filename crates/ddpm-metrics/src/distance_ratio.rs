//! How much closer a sample is to its nearest training image than to others.

use crate::error::{Result, check_parameter, check_samples};
use crate::nearest_neighbors::NearestNeighbors;

/// A sample whose [`nearest_to_second_ratio`] is below this is a copy, in Yoon et al. 2023.
pub const COPY_RATIO: f64 = 1.0 / 3.0;

/// The distance of each sample to its nearest training image, divided by the distance to its second nearest, from 0 to
/// 1 ([Yoon et al. 2023](https://openreview.net/forum?id=shciCbSk9h), who call a sample memorized below 1/3).
///
/// It is 1 where both distances are 0, as for training images that occur twice.
///
/// # Errors
/// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) if fewer than two neighbors were searched for.
pub fn nearest_to_second_ratio(neighbors: &NearestNeighbors) -> Result<Vec<f64>> {
    check_samples("the second nearest neighbor", neighbors.neighbors(), 2)?;
    let ratio = |query: usize| {
        let distances = neighbors.squared_distances(query);
        divide(distances[0].sqrt(), distances[1].sqrt())
    };
    Ok((0..neighbors.queries()).map(ratio).collect())
}

/// The distance of each sample x̂ to its nearest training image x, divided by α times the mean distance to its k
/// nearest training images S ([Carlini et al. 2023](https://arxiv.org/abs/2301.13188), section 5):
///
/// ℓ(x̂, x; S) = ‖x̂ − x‖ / (α · mean over y in S of ‖x̂ − y‖)
///
/// The paper uses k = 50 and α = 0.5. Values are from 0 to 1 / α; a copy is far below the others. The ratio corrects
/// for flat images, which are close to many.
///
/// # Errors
/// [`MetricsError::Parameter`](crate::MetricsError::Parameter) unless α is a positive number;
/// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) if fewer than two neighbors were searched for.
///
/// # Examples
/// ```
/// use ddpm_metrics::{Features, nearest_neighbors, nearest_to_mean_ratio, nearest_to_second_ratio};
///
/// let training = Features::new(vec![0.0, 4.0, 9.0], 1)?;
/// let neighbors = nearest_neighbors(&Features::new(vec![1.0], 1)?, &training, 3)?;
/// // The distances are 1, 3 and 8.
/// assert_eq!(nearest_to_second_ratio(&neighbors)?, [1.0 / 3.0]);
/// assert_eq!(nearest_to_mean_ratio(&neighbors, 0.5)?, [0.5]);
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
pub fn nearest_to_mean_ratio(neighbors: &NearestNeighbors, alpha: f64) -> Result<Vec<f64>> {
    check_parameter(alpha > 0.0 && alpha.is_finite(), "alpha", alpha, "a positive number")?;
    check_samples("the mean distance of neighbors", neighbors.neighbors(), 2)?;
    let ratio = |query: usize| {
        let distances = neighbors.squared_distances(query);
        let mean = distances.iter().map(|distance| distance.sqrt()).sum::<f64>() / distances.len() as f64;
        divide(distances[0].sqrt(), mean) / alpha
    };
    Ok((0..neighbors.queries()).map(ratio).collect())
}

/// a / b for 0 <= a <= b, and 1 where both are 0.
fn divide(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 1.0 }
}
