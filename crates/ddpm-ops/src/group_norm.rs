//! Group normalisation, alone or followed by SiLU, in one pass forward and one backward.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::cpu;
use crate::cpu::buffer::Buffer;
use crate::cpu::exp::sigmoid;
use crate::cpu::reduce::{sum_of, sum_of_pairs};
use crate::cpu::vectorise::{Fma, vectorise};
use crate::tape::{Gradients, Tape, Value};

/// Normalises each group of channels of each image to mean 0 and variance 1 (biased, plus `eps`), then scales and shifts
/// each channel (Wu & He 2018): [`Tape::group_norm`] as an operation of candle's.
///
/// # Shapes
/// `x` [batch, channel, height, width] (or any [batch, channel, …]); `weight`, `bias` `[channel]`.
///
/// # Errors
/// When `groups` does not divide the channels, or `weight` or `bias` has another length than the channels.
pub fn group_norm(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    crate::fused(&[x], |tape, values| tape.group_norm(&values[0], groups, weight, bias, eps, false))
}

/// [`group_norm`] followed by SiLU, z ↦ z σ(z), without the tensor between them.
///
/// # Shapes
/// # Errors
/// Those of [`group_norm`].
pub fn group_norm_silu(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    crate::fused(&[x], |tape, values| tape.group_norm(&values[0], groups, weight, bias, eps, true))
}

impl Tape {
    /// Group normalisation, followed by SiLU where `silu`. Shapes and errors are those of [`group_norm`].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn group_norm(
        &self,
        x: &Value,
        groups: usize,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        silu: bool,
    ) -> Result<Value> {
        let &[_, channels, ref rest @ ..] = x.dims() else { bail!("group_norm: {:?} has no channels", x.dims()) };
        let norm = GroupNorm::new(groups, channels, rest.iter().product(), eps, silu)?;
        if weight.dims() != [channels] || bias.dims() != [channels] {
            bail!("group_norm: expected weight and bias of [{channels}], found {:?}, {:?}", weight.dims(), bias.dims());
        }
        let Some(array) = x.fused().cloned() else {
            return self.device_group_norm(x, groups, weight, bias, eps, silu);
        };
        let image = norm.image();
        let images = array.values.len() / image.max(1);
        let mut out = Buffer::new(array.values.len());
        let mut statistics = vec![Statistics::default(); images * groups];
        cpu::with_slices([weight, bias], |[weight, bias]| {
            array
                .values
                .par_chunks_exact(image.max(1))
                .zip(out.par_chunks_exact_mut(image.max(1)))
                .zip(statistics.par_chunks_exact_mut(groups))
                .for_each(|((x, out), statistics)| norm.forward(x, (weight, bias), None, out, statistics));
            Ok(())
        })?;
        let dims = array.dims.clone();
        Ok(self.push(Arc::new(out), &dims, &[array.node], &[weight, bias], || {
            let (weight, bias) = (weight.clone(), bias.clone());
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                let mut to = Buffer::new(grad.len());
                let shares = cpu::runs(images, rayon::current_num_threads());
                let share = shares.iter().map(std::ops::Range::len).max().unwrap_or(1).max(1);
                let total = cpu::with_slices([&weight, &bias], |[weight, bias]| {
                    let sums: Vec<NormGradient> = to
                        .par_chunks_mut((share * image).max(1))
                        .enumerate()
                        .map(|(i, to)| {
                            let of_share = i * share * image..i * share * image + to.len();
                            let mut sums = NormGradient::new(channels);
                            let statistics = &statistics[i * share * groups..];
                            let (x, grad) = (&array.values[of_share.clone()], &grad[of_share]);
                            norm.backward((weight, bias), statistics, x, grad, to, &mut sums);
                            sums
                        })
                        .collect();
                    let mut total = NormGradient::new(channels);
                    sums.iter().for_each(|more| total.merge(more));
                    Ok(total)
                })?;
                gradients.add_parameter(&weight, total.weight);
                gradients.add_parameter(&bias, total.bias);
                gradients.add(array.node, to);
                Ok(())
            })
        }))
    }
}

/// The shapes of a normalisation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupNorm {
    groups: usize,
    channels: usize,
    plane: usize,
    eps: f64,
    /// Whether SiLU follows.
    silu: bool,
}

/// Gradients of a normalisation's weight and bias.
#[derive(Debug)]
pub(crate) struct NormGradient {
    pub(crate) weight: Buffer,
    pub(crate) bias: Buffer,
}

impl NormGradient {
    pub(crate) fn new(channels: usize) -> Self {
        Self { weight: Buffer::zeros(channels), bias: Buffer::zeros(channels) }
    }

    /// Adds another thread's sums.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.weight.iter_mut().zip(&other.weight[..]).for_each(|(sum, more)| *sum += more);
        self.bias.iter_mut().zip(&other.bias[..]).for_each(|(sum, more)| *sum += more);
    }
}

/// Mean and 1/σ of one group of one image.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Statistics {
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

impl GroupNorm {
    pub(crate) fn new(groups: usize, channels: usize, plane: usize, eps: f64, silu: bool) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!("group_norm: {channels} channels do not divide into {groups} groups");
        }
        Ok(Self { groups, channels, plane, eps, silu })
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    fn image(&self) -> usize {
        self.channels * self.plane
    }

    fn channels_a_group(&self) -> usize {
        self.channels / self.groups
    }

    fn group_size(&self) -> usize {
        self.channels_a_group() * self.plane
    }

    /// Normalises some images, on this thread, and keeps their statistics: norm(x) or silu(norm(x)), plus the residual.
    pub(crate) fn forward(
        &self,
        x: &[f32],
        (weight, bias): (&[f32], &[f32]),
        residual: Option<&[f32]>,
        out: &mut [f32],
        statistics: &mut [Statistics],
    ) {
        let size = self.group_size().max(1);
        vectorise(
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

    /// Normalises one group and returns its statistics.
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
        let first = group * self.channels_a_group();
        let planes = x.chunks_exact(self.plane).zip(out.chunks_exact_mut(self.plane));
        for (channel, (x, out)) in planes.enumerate() {
            // y = x · scale + shift is the whole normalisation of a channel.
            let scale = weight[first + channel] * stats.inverse_deviation;
            let shift = bias[first + channel] - stats.mean * scale;
            // Loops, not closures given to iterators: those are functions of their own, compiled for any machine.
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

    /// The gradient of some images' input into `out`, on this thread, with the gradients of weight and bias added to `sums`.
    pub(crate) fn backward(
        &self,
        (weight, bias): (&[f32], &[f32]),
        statistics: &[Statistics],
        x: &[f32],
        grad: &[f32],
        out: &mut [f32],
        sums: &mut NormGradient,
    ) {
        let (size, channels) = (self.group_size().max(1), self.channels_a_group());
        vectorise(
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
    /// With x̂ the normalised input, w the weight and d = ∂L/∂z w: ∂L/∂x = (d − mean(d) − x̂ mean(d x̂)) / σ.
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
        for channel in 0..self.channels_a_group() {
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
