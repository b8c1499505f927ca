//! The features of `tests/golden/generate_metrics.py`, and comparisons.

use ddpm_metrics::Features;

/// The features of a seed [rows, width]: Knuth's generator of 64 bits, as in the Python file.
pub(crate) fn features(seed: u64, rows: usize, width: usize, offset: f64) -> Features {
    let (mut state, mut values) = (seed, Vec::new());
    for _ in 0..rows {
        let mut before = 0.0;
        for j in 0..width {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let uniform = (state >> 40) as f64 / f64::from(1 << 24);
            let value = 0.5 * before + (uniform - 0.5) / (1 + j) as f64 + offset;
            before = (value * f64::from(1 << 20)).floor() / f64::from(1 << 20);
            values.push(before as f32);
        }
    }
    Features::new(values, width).unwrap()
}

/// Asserts that two numbers agree to `tolerance` of the larger one.
pub(crate) fn assert_close(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs() / expected.abs().max(found.abs()).max(f64::MIN_POSITIVE);
    assert!(error <= tolerance, "{what}: found {found}, expected {expected}, relative error {error:.2e}");
}
