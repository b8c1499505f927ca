//! The weights with which an axis of an image is resized.

/// For each output position, the first input position and the weights from there on. They sum to 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AxisWeights {
    pub(crate) input_length: usize,
    pub(crate) rows: Vec<(usize, Vec<f32>)>,
}

impl AxisWeights {
    /// Bilinear interpolation as TensorFlow 1 computes it: output position i is at i · input / output, so the corners
    /// coincide and the last pixels are repeated. Without antialiasing.
    ///
    /// Source: `resize_bilinear_op.cc` and `image_resizer_state.h` of
    /// [TensorFlow 1.15](https://github.com/tensorflow/tensorflow/tree/v1.15.5/tensorflow/core/kernels).
    pub(crate) fn tensorflow_bilinear(input: usize, output: usize) -> Self {
        let scale = input as f32 / output as f32;
        Self::linear(input, output, |i| i as f32 * scale)
    }

    /// Bilinear interpolation of `torch.nn.functional.interpolate` with `align_corners=False`: the center of output
    /// pixel i is at (i + 1/2) · input / output, and no position is before the first center. Without antialiasing.
    pub(crate) fn torch_bilinear(input: usize, output: usize) -> Self {
        let scale = input as f32 / output as f32;
        Self::linear(input, output, |i| (scale * (i as f32 + 0.5) - 0.5).max(0.0))
    }

    fn linear(input: usize, output: usize, position: impl Fn(usize) -> f32) -> Self {
        let row = |i| {
            let position = position(i);
            let first = (position as usize).min(input - 1);
            let fraction = (position - first as f32).min(1.0);
            if first + 1 < input { (first, vec![1.0 - fraction, fraction]) } else { (first, vec![1.0]) }
        };
        Self { input_length: input, rows: (0..output).map(row).collect() }
    }

    /// The bicubic filter (Keys 1981, a = −1/2) of Pillow, which is widened by the factor of the reduction so that it
    /// averages (antialiasing). Weights outside of the image are left out and the others scaled to the sum 1.
    ///
    /// Source: `precompute_coeffs` in `Resample.c` of
    /// [Pillow](https://github.com/python-pillow/Pillow/blob/main/src/libImaging/Resample.c).
    pub(crate) fn pillow_bicubic(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let width = scale.max(1.0);
        let row = |i: usize| {
            let center = (i as f64 + 0.5) * scale;
            let first = ((center - 2.0 * width + 0.5) as usize).min(input - 1);
            let end = ((center + 2.0 * width + 0.5) as usize).min(input).max(first + 1);
            let weights: Vec<f64> = (first..end).map(|x| cubic((x as f64 - center + 0.5) / width, -0.5)).collect();
            let sum: f64 = weights.iter().sum();
            (first, weights.into_iter().map(|weight| (weight / sum) as f32).collect())
        };
        Self { input_length: input, rows: (0..output).map(row).collect() }
    }

    /// Bicubic interpolation of `torch.nn.functional.interpolate` with `align_corners=False` (a = −3/4): four pixels,
    /// without antialiasing, and the pixels at the border repeated.
    pub(crate) fn torch_bicubic(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let row = |i: usize| {
            let position = (i as f64 + 0.5) * scale - 0.5;
            let base = position.floor();
            let inside = |x: f64| x.clamp(0.0, (input - 1) as f64) as usize;
            let first = inside(base - 1.0);
            let mut weights = vec![0.0; inside(base + 2.0) - first + 1];
            for tap in -1..=2 {
                let x = base + f64::from(tap);
                weights[inside(x) - first] += cubic(x - position, -0.75) as f32;
            }
            (first, weights)
        };
        Self { input_length: input, rows: (0..output).map(row).collect() }
    }

    /// The weights as a matrix [output, input], row by row.
    pub(crate) fn matrix(&self) -> Vec<f32> {
        let mut matrix = vec![0.0; self.rows.len() * self.input_length];
        for (row, (first, weights)) in matrix.chunks_exact_mut(self.input_length).zip(&self.rows) {
            row[*first..first + weights.len()].copy_from_slice(weights);
        }
        matrix
    }
}

/// The piecewise cubic kernel (Keys 1981, eq. 15) with its parameter a.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [fn(usize, usize) -> AxisWeights; 4] = [
        AxisWeights::tensorflow_bilinear,
        AxisWeights::torch_bilinear,
        AxisWeights::pillow_bicubic,
        AxisWeights::torch_bicubic,
    ];

    #[test]
    fn weights_sum_to_one_and_are_within_the_input() {
        for axis in ALL {
            for (input, output) in [(1, 1), (1, 7), (2, 5), (3, 299), (32, 299), (299, 32), (500, 3), (224, 224)] {
                let weights = axis(input, output);
                assert_eq!(weights.rows.len(), output);
                for (first, row) in &weights.rows {
                    assert!(first + row.len() <= input && !row.is_empty());
                    assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{input} to {output}");
                }
            }
        }
    }

    #[test]
    fn the_same_length_is_the_identity() {
        for axis in ALL {
            for (i, row) in axis(9, 9).matrix().chunks_exact(9).enumerate() {
                assert!(row.iter().enumerate().all(|(j, w)| (w - f32::from(u8::from(i == j))).abs() < 1e-6), "{row:?}");
            }
        }
    }
}
