//! Sums in a fixed order, written so that compilers vectorize them.

/// The number of elements that are summed in f32 before the partial sum is added in f64, so that long sums keep their
/// precision.
const RUN: usize = 4096;
/// The number of running sums: enough vector registers that an addition need not wait for the one before it.
const LANES: usize = 64;

/// Σ f(v), computed as 64 running sums in f32 over runs of 4,096 values; the sums of the runs are added in f64.
#[inline(always)]
pub(crate) fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let mut total = 0.0;
    for run in values.chunks(RUN) {
        let mut lanes = [0.0f32; LANES];
        for chunk in run.chunks(LANES) {
            lanes.iter_mut().zip(chunk).for_each(|(lane, v)| *lane += f(*v));
        }
        total += f64::from(sum_of_lanes(lanes));
    }
    total
}

/// Σ f(a, b) over the pairs of elements of two slices of equal length, summed in the same order as in [`sum_of`].
#[inline(always)]
pub(crate) fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f64 {
    let mut total = 0.0;
    for (a, b) in a.chunks(RUN).zip(b.chunks(RUN)) {
        let mut lanes = [0.0f32; LANES];
        for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
            lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += f(*a, *b));
        }
        total += f64::from(sum_of_lanes(lanes));
    }
    total
}

/// The sum of all lanes, as a binary tree: all additions but the last few are of whole vectors.
#[inline(always)]
fn sum_of_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_summed_for_any_length() {
        for n in [0, 1, 63, 64, 65, 4095, 4096, 4097, 10_000] {
            let values: Vec<f32> = (0..n).map(|i| (i % 7) as f32).collect();
            // The values are small integers, so the sums are exact.
            let expected: f64 = values.iter().map(|v| f64::from(*v)).sum();
            assert_eq!(sum_of(&values, |v| v), expected, "{n} values");
            assert_eq!(sum_of_pairs(&values, &values, |a, b| 2.0 * a - b), expected, "{n} pairs");
        }
    }
}
