//! The weights of a convolution, transformed: G g Gᵀ of every kernel.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::ConvWeights;
use crate::cpu::conv2d::winograd::transforms::{FilterTransform, POINTS, TAPS, in_two_dimensions};
use crate::cpu::geometry::Geometry;
use crate::cpu::micro_kernel::{PANEL, PANEL_BLOCK};

/// The transformed weights of a convolution, [block of 16 output channels][point][block of 16 input channels][16 input
/// channels] [16 output channels]. Missing channels are zeros.
#[derive(Debug)]
pub(super) struct TransformedFilter {
    values: Buffer,
    /// The distance from one point to the next.
    point_stride: usize,
}

impl TransformedFilter {
    /// The weights in the form in which the trait `ConvKernel` passes them.
    pub(super) fn erased(self) -> ConvWeights<'static> {
        let bytes = size_of_val(&self.values[..]);
        ConvWeights::packed(self, bytes)
    }

    /// Transforms `weight` [channel_out, channel_in, 3, 3].
    pub(super) fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        Self::transform((channels_out, channels_in), weight, (channels_in * TAPS, TAPS), false)
    }

    /// Transforms the flipped weights: the kernel rotated by 180°, input and output channels exchanged.
    pub(super) fn flipped(geometry: &Geometry, weight: &[f32]) -> Self {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        Self::transform((channels_in, channels_out), weight, (TAPS, channels_in * TAPS), true)
    }

    /// The transformed weights of one block of output channels, [point][block of input channels][16 input channels][16
    /// output channels].
    pub(super) fn block(&self, block: usize) -> &[f32] {
        let block_stride = POINTS * self.point_stride;
        &self.values[block * block_stride..][..block_stride]
    }

    /// Transforms the kernels of `columns` output channels and `terms` input channels. That of column n and term k
    /// starts at element n · `strides.0` + k · `strides.1`; it is rotated by 180° if `rotated`.
    fn transform((columns, terms): (usize, usize), weight: &[f32], strides: (usize, usize), rotated: bool) -> Self {
        let point_stride = terms.div_ceil(PANEL) * PANEL_BLOCK + PANEL;
        let mut values = Buffer::new(columns.div_ceil(PANEL) * POINTS * point_stride);
        values.par_chunks_exact_mut(POINTS * point_stride).enumerate().for_each(|(block, to)| {
            let first = block * PANEL;
            let columns = PANEL.min(columns - first);
            let weight = &weight[first * strides.0..];
            Arch::new().dispatch(FilterTask { weight, columns, terms, strides, rotated, point_stride, to });
        });
        Self { values, point_stride }
    }
}

/// Transforms the kernels of a block of output channels, sixteen or fewer.
struct FilterTask<'a> {
    weight: &'a [f32],
    columns: usize,
    terms: usize,
    strides: (usize, usize),
    rotated: bool,
    point_stride: usize,
    to: &'a mut [f32],
}

impl WithSimd for FilterTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weight, columns, terms, strides, rotated, point_stride, to } = self;
        let mut half = [[simd.splat_f32s(0.0); 6]; 3];
        for term in 0..terms.next_multiple_of(PANEL) {
            let mut taps = [[0.0; PANEL]; TAPS];
            if term < terms {
                for column in 0..columns {
                    let kernel = &weight[column * strides.0 + term * strides.1..][..TAPS];
                    for (tap, taps) in taps.iter_mut().enumerate() {
                        taps[column] = kernel[if rotated { TAPS - 1 - tap } else { tap }];
                    }
                }
            }
            for lane in (0..PANEL).step_by(S::F32_LANES) {
                in_two_dimensions::<FilterTransform, S, 3, 6>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| S::as_simd_f32s(&taps[3 * y + x][lane..]).0[0],
                    #[inline(always)]
                    |y, x, value| {
                        let at = (6 * y + x) * point_stride + term * PANEL + lane;
                        S::as_mut_simd_f32s(&mut to[at..at + S::F32_LANES]).0[0] = value;
                    },
                );
            }
        }
    }
}
