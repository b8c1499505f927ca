//! The linear schedule of Ho et al. 2020, section 4: β evenly spaced.

/// `count` evenly spaced values whose first is exactly `start` and whose last is exactly `end`; `[start]` if `count` is
/// 1.
pub(crate) fn linspace(start: f64, end: f64, count: usize) -> Vec<f64> {
    let intervals = count.saturating_sub(1);
    let value = |i: usize| {
        if i > 0 && i == intervals { end } else { start + (end - start) * (i as f64 / intervals.max(1) as f64) }
    };
    (0..count).map(value).collect()
}

/// β_t, evenly spaced from `start` to `end`.
pub(crate) fn betas(start: f64, end: f64, timesteps: usize) -> Vec<f64> {
    linspace(start, end, timesteps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_values_are_exact() {
        assert_eq!(linspace(0.1, 0.3, 3), [0.1, 0.2, 0.3]);
        assert_eq!(linspace(0.1, 0.7, 1), [0.1]);
        assert_eq!(*betas(1e-4, 0.02, 1000).last().unwrap(), 0.02);
    }
}
