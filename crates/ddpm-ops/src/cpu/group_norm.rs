//! Group normalization of slices, in one pass forward and one backward.

use crate::backend::norm::Norm;
use crate::cpu::buffer::Buffer;
use crate::cpu::exp::sigmoid;
use crate::cpu::reduce::{sum_of, sum_of_pairs};
use crate::cpu::vectorize::{Fma, vectorize};

/// A group normalization of images of one shape.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct GroupNormKernel {
    groups: usize,
    channels: usize,
    plane: usize,
    eps: f64,
    /// True if SiLU follows.
    silu: bool,
}

/// The gradients of weight and bias, summed over images.
#[derive(Debug)]
pub(in crate::cpu) struct NormGradient {
    pub(in crate::cpu) weight: Buffer,
    pub(in crate::cpu) bias: Buffer,
}

impl NormGradient {
    pub(in crate::cpu) fn new(channels: usize) -> Self {
        Self { weight: Buffer::zeros(channels), bias: Buffer::zeros(channels) }
    }

    /// Adds another thread's sums.
    pub(in crate::cpu) fn merge(&mut self, other: &Self) {
        self.weight.iter_mut().zip(&other.weight[..]).for_each(|(sum, more)| *sum += more);
        self.bias.iter_mut().zip(&other.bias[..]).for_each(|(sum, more)| *sum += more);
    }
}

/// Mean and 1/σ of one group of one image.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cpu) struct Statistics {
    mean: f32,
    inverse_deviation: f32,
}

/// Mean and variance in two passes: the one-pass form cancels when the mean is large.
#[inline(always)]
fn statistics(values: &[f32], eps: f64) -> Statistics {
    let n = values.len().max(1) as f64;
    let mean = (sum_of(values, |v| v) / n) as f32;
    let variance = sum_of(values, |v| (v - mean) * (v - mean)) / n;
    Statistics { mean, inverse_deviation: (1.0 / (variance + eps).sqrt()) as f32 }
}

impl GroupNormKernel {
    /// For that many channels of `plane` elements each. The groups divide the channels.
    pub(in crate::cpu) fn new(norm: &Norm<'_>, channels: usize, plane: usize, silu: bool) -> Self {
        Self { groups: norm.groups, channels, plane, eps: norm.eps, silu }
    }

    pub(in crate::cpu) fn groups(&self) -> usize {
        self.groups
    }

    /// Elements of one image.
    pub(in crate::cpu) fn image(&self) -> usize {
        self.channels * self.plane
    }

    fn channels_per_group(&self) -> usize {
        self.channels / self.groups
    }

    fn group_size(&self) -> usize {
        self.channels_per_group() * self.plane
    }

    /// Writes norm(x) or silu(norm(x)), plus the residual, of some images to `out`, on this thread, and their
    /// statistics to `statistics`.
    pub(in crate::cpu) fn forward(
        &self,
        x: &[f32],
        (weight, bias): (&[f32], &[f32]),
        residual: Option<&[f32]>,
        out: &mut [f32],
        statistics: &mut [Statistics],
    ) {
        let size = self.group_size().max(1);
        vectorize(
            #[inline(always)]
            |fma| {
                for (i, statistics) in statistics.iter_mut().enumerate() {
                    let of_group = i * size..(i + 1) * size;
                    let residual = residual.map(|residual| &residual[of_group.clone()]);
                    let (x, out) = (&x[of_group.clone()], &mut out[of_group]);
                    *statistics = self.forward_group(fma, i % self.groups, x, (weight, bias), residual, out);
                }
            },
        );
    }

    /// Normalizes one group and returns its statistics.
    #[inline(always)]
    fn forward_group(
        &self,
        fma: Fma,
        group: usize,
        x: &[f32],
        (weight, bias): (&[f32], &[f32]),
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Statistics {
        let stats = statistics(x, self.eps);
        let first = group * self.channels_per_group();
        let planes = x.chunks_exact(self.plane).zip(out.chunks_exact_mut(self.plane));
        for (channel, (x, out)) in planes.enumerate() {
            // y = x · scale + shift is the whole normalization of a channel.
            let scale = weight[first + channel] * stats.inverse_deviation;
            let shift = bias[first + channel] - stats.mean * scale;
            // Loops instead of closures given to iterators: such closures are functions of their own, which the
            // compiler does not compile for the vectors of this machine.
            for (out, x) in out.iter_mut().zip(x) {
                let z = fma.mul_add(*x, scale, shift);
                *out = if self.silu { z * sigmoid(fma, z) } else { z };
            }
            if let Some(residual) = residual {
                for (out, residual) in out.iter_mut().zip(&residual[channel * self.plane..]) {
                    *out += residual;
                }
            }
        }
        stats
    }

    /// Writes the gradient of some images' input to `out`, on this thread, and adds the gradients of weight and bias to
    /// `sums`.
    pub(in crate::cpu) fn backward(
        &self,
        (weight, bias): (&[f32], &[f32]),
        statistics: &[Statistics],
        x: &[f32],
        grad: &[f32],
        out: &mut [f32],
        sums: &mut NormGradient,
    ) {
        let (size, channels) = (self.group_size().max(1), self.channels_per_group());
        vectorize(
            #[inline(always)]
            |fma| {
                for (i, out) in out.chunks_exact_mut(size).enumerate() {
                    let of_group = i * size..(i + 1) * size;
                    let first = i % self.groups * channels;
                    let own = first..first + channels;
                    self.backward_group(
                        fma,
                        (&weight[own.clone()], &bias[own.clone()]),
                        statistics[i],
                        (&x[of_group.clone()], &grad[of_group]),
                        out,
                        (&mut sums.weight[own.clone()], &mut sums.bias[own]),
                    );
                }
            },
        );
    }

    /// The gradient of one group's input, with the gradients of its channels' weight and bias.
    ///
    /// With x̂ the normalized input, w the weight and d = ∂L/∂z w: ∂L/∂x = (d − mean(d) − x̂ mean(d x̂)) / σ.
    #[inline(always)]
    fn backward_group(
        &self,
        fma: Fma,
        (weight, bias): (&[f32], &[f32]),
        stats: Statistics,
        (x, grad): (&[f32], &[f32]),
        out: &mut [f32],
        (grad_weight, grad_bias): (&mut [f32], &mut [f32]),
    ) {
        let (mut sum_d, mut sum_dx) = (0.0f64, 0.0f64);
        for channel in 0..self.channels_per_group() {
            let range = channel * self.plane..(channel + 1) * self.plane;
            let (x, grad, out) = (&x[range.clone()], &grad[range.clone()], &mut out[range]);
            let scale = weight[channel] * stats.inverse_deviation;
            let shift = bias[channel] - stats.mean * scale;
            if self.silu {
                for ((out, x), grad) in out.iter_mut().zip(x).zip(grad) {
                    let z = fma.mul_add(*x, scale, shift);
                    let s = sigmoid(fma, z);
                    *out = grad * fma.mul_add(z * s, 1.0 - s, s);
                }
            } else {
                out.copy_from_slice(grad);
            }
            let channel_bias = sum_of(out, |v| v);
            let channel_weight = sum_of_pairs(out, x, |d, x| d * (x - stats.mean)) * f64::from(stats.inverse_deviation);
            grad_bias[channel] += channel_bias as f32;
            grad_weight[channel] += channel_weight as f32;
            sum_d += channel_bias * f64::from(weight[channel]);
            sum_dx += channel_weight * f64::from(weight[channel]);
        }
        let n = self.group_size() as f64;
        let (mean_d, mean_dx) = ((sum_d / n) as f32, (sum_dx / n) as f32);
        // (d − mean_d − x̂ mean_dx) / σ as out · a − x · b + c.
        let b = mean_dx * stats.inverse_deviation * stats.inverse_deviation;
        let c = stats.mean * b - mean_d * stats.inverse_deviation;
        for (channel, (out, x)) in out.chunks_exact_mut(self.plane).zip(x.chunks_exact(self.plane)).enumerate() {
            let a = weight[channel] * stats.inverse_deviation;
            for (out, x) in out.iter_mut().zip(x) {
                *out = fma.mul_add(*out, a, fma.mul_add(*x, -b, c));
            }
        }
    }
}
