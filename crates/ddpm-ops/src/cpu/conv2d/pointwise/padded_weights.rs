//! The weights of a convolution with 1 × 1 kernels, as the left factor of the micro-kernel.

use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::ConvWeights;
use crate::cpu::geometry::Geometry;
use crate::cpu::micro_kernel::PANEL;

/// Weights [output channel][input channel], with zeros that round the number of input channels up to whole blocks of
/// terms.
#[derive(Debug)]
pub(super) struct PaddedWeights {
    values: Buffer,
    /// The distance from one output channel to the next.
    stride: usize,
}

impl PaddedWeights {
    /// The weights in the form in which the trait `ConvKernel` passes them.
    pub(super) fn erased(self) -> ConvWeights<'static> {
        let bytes = size_of_val(&self.values[..]);
        ConvWeights::packed(self, bytes)
    }

    /// Packs `weight` [channel_out, channel_in, 1, 1].
    pub(super) fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        Self::pack(geometry.channels_out, geometry.channels_in, weight, (geometry.channels_in, 1))
    }

    /// Packs the flipped weights: those with input and output channels exchanged.
    pub(super) fn flipped(geometry: &Geometry, weight: &[f32]) -> Self {
        Self::pack(geometry.channels_in, geometry.channels_out, weight, (1, geometry.channels_in))
    }

    /// The output channel at `row` and those after it.
    pub(super) fn rows_from(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..]
    }

    /// The distance from one output channel to the next.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Packs the weights of `rows` output channels and `terms` input channels. That of row n and term k is element
    /// n · `strides.0` + k · `strides.1`.
    fn pack(rows: usize, terms: usize, weight: &[f32], strides: (usize, usize)) -> Self {
        let stride = terms.next_multiple_of(PANEL);
        let mut values = Buffer::new(rows * stride);
        for (n, to) in values.chunks_exact_mut(stride.max(1)).enumerate() {
            let from = weight[n * strides.0..].iter().step_by(strides.1).take(terms);
            to.iter_mut().zip(from).for_each(|(to, weight)| *to = *weight);
            to[terms..].fill(0.0);
        }
        Self { values, stride }
    }
}
