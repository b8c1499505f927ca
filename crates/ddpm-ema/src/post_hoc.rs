//! Averages of any length from stored ones.

use faer::Mat;
use faer::prelude::Solve;

use crate::power_function::PowerFunction;

/// A power-function average after a number of updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerAverage {
    /// How the average weighs the steps.
    pub function: PowerFunction,
    /// Number of updates, at least 1.
    pub updates: u64,
}

/// How stored averages are combined.
#[derive(Debug, Clone, PartialEq)]
pub struct PostHocWeights {
    /// The factor of each stored average. Their sum is 1.
    pub weights: Vec<f64>,
    /// How far the combination is from the requested average, in [0, 1]: the norm of the difference of their profiles
    /// (what each step contributes, as a function of time) relative to the norm of the requested one.
    pub error: f64,
}

/// Why stored averages cannot be combined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostHocError {
    /// There are none.
    #[error("expected at least one stored average, found none")]
    Empty,
    /// An average without updates has no weights.
    #[error("expected averages of at least one update, found one of 0 updates")]
    NoUpdates,
    /// Two of them are the same average.
    #[error("expected averages that differ, found two equal ones")]
    Duplicate,
}

/// The linear combination of the averages `stored` that comes closest to the average `target`: post-hoc EMA
/// ([Karras et al. 2024b](https://arxiv.org/abs/2312.02696), section 3.2 and appendix C.2).
///
/// The profile of an average is the share that the weights of time t have in it, (γ + 1) t^γ / T^(γ + 1) for t up to
/// T. The factors minimize the squared distance between the profile of `target` and the sum of the stored ones, and
/// are scaled so that their sum is 1. With the lengths 0.05 and 0.1 of the paper, stored 32 times during a training,
/// [`PostHocWeights::error`] is below 5 % for lengths from 0.02 to 0.25, and below 0.3 % from 0.05 to 0.15.
///
/// # Errors
/// When `stored` is empty or has two equal averages, or an average has no updates.
///
/// # Examples
/// ```
/// use ddpm_ema::{PowerAverage, PowerFunction, post_hoc_weights};
///
/// let average = |sigma_rel, updates| PowerAverage { function: PowerFunction::new(sigma_rel).unwrap(), updates };
/// let stored: Vec<_> = (1..=20).flat_map(|i| [average(0.05, 500 * i), average(0.1, 500 * i)]).collect();
/// let combined = post_hoc_weights(&stored, average(0.07, 10_000)).unwrap();
/// assert!(combined.error < 0.003);
/// ```
pub fn post_hoc_weights(stored: &[PowerAverage], target: PowerAverage) -> Result<PostHocWeights, PostHocError> {
    if stored.is_empty() {
        return Err(PostHocError::Empty);
    }
    if stored.iter().chain([&target]).any(|average| average.updates == 0) {
        return Err(PostHocError::NoUpdates);
    }
    let is_repeated = |(i, average): (usize, &PowerAverage)| stored[..i].contains(average);
    if stored.iter().enumerate().any(is_repeated) {
        return Err(PostHocError::Duplicate);
    }
    // Profiles of unit norm keep the equations balanced: those of early averages are much larger than the others.
    let norms: Vec<f64> = stored.iter().map(|average| product(average, average).sqrt()).collect();
    let count = stored.len();
    let products = Mat::from_fn(count, count, |i, j| product(&stored[i], &stored[j]) / (norms[i] * norms[j]));
    let with_target = Mat::from_fn(count, 1, |i, _| product(&stored[i], &target) / norms[i]);
    let solution = products.full_piv_lu().solve(&with_target);
    let weights: Vec<f64> = norms.iter().enumerate().map(|(i, norm)| solution[(i, 0)] / norm).collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    let error = distance(stored, &weights, &target);
    Ok(PostHocWeights { weights, error })
}

/// The norm of the difference of the profiles, relative to that of `target`.
fn distance(stored: &[PowerAverage], weights: &[f64], target: &PowerAverage) -> f64 {
    let profile = |average: &PowerAverage, from: f64, to: f64| {
        let (end, power) = (average.updates as f64, average.function.gamma() + 1.0);
        (to.min(end) / end).powf(power) - (from.min(end) / end).powf(power)
    };
    // A sum over intervals of time, because the difference of the products would cancel.
    let end = stored.iter().chain([target]).map(|average| average.updates).max().unwrap_or(1) as f64;
    let intervals = 4096;
    let (mut difference, mut norm) = (0.0, 0.0);
    for i in 0..intervals {
        let [from, to] = [i, i + 1].map(|i| end * i as f64 / intervals as f64);
        let wanted = profile(target, from, to);
        let found: f64 = stored.iter().zip(weights).map(|(average, weight)| weight * profile(average, from, to)).sum();
        difference += (found - wanted).powi(2);
        norm += wanted.powi(2);
    }
    (difference / norm).sqrt()
}

/// The inner product of two profiles, ∫ (γ + 1)(δ + 1) t^(γ + δ) / (T^(γ + 1) S^(δ + 1)) dt from 0 to min(T, S).
fn product(a: &PowerAverage, b: &PowerAverage) -> f64 {
    let ([gamma, delta], [end_a, end_b]) = ([a, b].map(|x| x.function.gamma()), [a, b].map(|x| x.updates as f64));
    let end = end_a.min(end_b);
    // Powers of T reach beyond the range of f64, their ratios do not.
    let ratio = (end / end_a).powf(gamma + 1.0) * (end / end_b).powf(delta + 1.0);
    (gamma + 1.0) * (delta + 1.0) / (gamma + delta + 1.0) * ratio / end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn average(sigma_rel: f64, updates: u64) -> PowerAverage {
        PowerAverage { function: PowerFunction::new(sigma_rel).expect("in range"), updates }
    }

    /// The average of `weights` that training would have followed.
    fn follow(weights: &[f64], sigma_rel: f64) -> Vec<f64> {
        let function = average(sigma_rel, 1).function;
        let mut value = f64::NAN;
        let follow = |(updates, weight): (usize, &f64)| {
            let decay = function.decay(updates as u64);
            value = if decay == 0.0 { *weight } else { decay * value + (1.0 - decay) * weight };
            value
        };
        weights.iter().enumerate().map(follow).collect()
    }

    /// A reproducible random walk towards 1, like a weight during training.
    fn walk(steps: usize) -> Vec<f64> {
        let (mut state, mut value) = (1_u64, 0.0);
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            value += 0.001 * (1.0 - value) + 0.01 * ((state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5);
            value
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn a_combination_equals_the_average_that_training_would_have_followed() {
        let steps = 4000;
        let weights = walk(steps);
        let stored: Vec<PowerAverage> =
            (1..=32).flat_map(|i| [average(0.05, 125 * i), average(0.1, 125 * i)]).collect();
        let [short, long] = [0.05, 0.1].map(|sigma_rel| follow(&weights, sigma_rel));
        let value = |stored: &PowerAverage| {
            let of = if stored.function.sigma_rel() == 0.05 { &short } else { &long };
            of[stored.updates as usize - 1]
        };
        let lengths = [(0.02, 1e-3), (0.05, 1e-9), (0.07, 1e-5), (0.1, 1e-9), (0.15, 1e-4), (0.25, 1e-2)];
        for (sigma_rel, tolerance) in lengths {
            let combined = post_hoc_weights(&stored, average(sigma_rel, steps as u64)).expect("valid");
            let found: f64 = stored.iter().zip(&combined.weights).map(|(stored, weight)| weight * value(stored)).sum();
            let expected = *follow(&weights, sigma_rel).last().expect("not empty");
            assert!((found - expected).abs() < tolerance, "{sigma_rel}: {found} is not {expected}");
            assert!(combined.error < 0.05, "{sigma_rel}: {}", combined.error);
        }
    }

    #[test]
    fn the_product_is_the_integral() {
        for (a, b) in [(average(0.05, 300), average(0.1, 1000)), (average(0.2, 800), average(0.01, 800))] {
            let density = |of: &PowerAverage, t: f64| {
                let (gamma, end) = (of.function.gamma(), of.updates as f64);
                if t <= end { (gamma + 1.0) / end * (t / end).powf(gamma) } else { 0.0 }
            };
            let steps = 1_000_000;
            let width = a.updates.min(b.updates) as f64 / steps as f64;
            let at = |i: u64| (i as f64 + 0.5) * width;
            let sum: f64 = (0..steps).map(|i| density(&a, at(i)) * density(&b, at(i)) * width).sum();
            assert!((product(&a, &b) / sum - 1.0).abs() < 1e-6, "{} is not {sum}", product(&a, &b));
        }
    }

    #[test]
    fn what_cannot_be_combined_is_an_error() {
        let target = average(0.1, 100);
        assert_eq!(post_hoc_weights(&[], target), Err(PostHocError::Empty));
        assert_eq!(post_hoc_weights(&[average(0.1, 0)], target), Err(PostHocError::NoUpdates));
        assert_eq!(post_hoc_weights(&[target, target], target), Err(PostHocError::Duplicate));
    }
}
