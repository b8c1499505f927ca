//! Group normalisation, alone or followed by SiLU, in one pass forward and one backward.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::composed;
use crate::cpu;
use crate::exp::sigmoid;
use crate::reduce::{sum_of, sum_of_pairs};

/// Normalises each group of channels of each image to mean 0 and variance 1 (biased, plus `eps`), then scales and shifts
/// each channel (Wu & He 2018).
///
/// # Shapes
/// `x` [batch, channel, height, width] (or any [batch, channel, …]); `weight`, `bias` `[channel]`.
///
/// # Errors
/// When `groups` does not divide the channels, or `weight` or `bias` has another length than the channels.
pub fn group_norm(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    apply(x, groups, weight, bias, eps, Then::Nothing)
}

/// [`group_norm`] followed by SiLU, z ↦ z σ(z), without the tensor between them.
///
/// # Shapes
/// # Errors
/// Those of [`group_norm`].
pub fn group_norm_silu(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    apply(x, groups, weight, bias, eps, Then::Silu)
}

fn apply(x: &Tensor, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64, then: Then) -> Result<Tensor> {
    let channels = x.dim(1)?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        bail!("group_norm: {channels} channels do not divide into {groups} groups");
    }
    if weight.dims() != [channels] || bias.dims() != [channels] {
        bail!("group_norm: expected weight and bias of [{channels}], found {:?}, {:?}", weight.dims(), bias.dims());
    }
    if !cpu::takes(&[x, weight, bias]) {
        let normalised = composed::group_norm(x, groups, weight, bias, eps)?;
        return if then == Then::Silu { normalised.silu() } else { Ok(normalised) };
    }
    let plane = x.dims()[2..].iter().product();
    let op = GroupNorm { groups, channels, plane, eps, then, statistics: OnceLock::new() };
    x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op)
}

/// What follows the normalisation in the same pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Nothing,
    Silu,
}

#[derive(Debug)]
struct GroupNorm {
    groups: usize,
    channels: usize,
    plane: usize,
    eps: f64,
    then: Then,
    /// Mean and 1/σ of every (image, group), kept from the forward pass for the backward one.
    statistics: OnceLock<Vec<Statistics>>,
}

#[derive(Debug, Clone, Copy)]
struct Statistics {
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
    fn channels_a_group(&self) -> usize {
        self.channels / self.groups
    }

    fn group_size(&self) -> usize {
        self.channels_a_group() * self.plane
    }

    /// Normalises one group and returns its statistics.
    #[inline(always)]
    fn forward_group(&self, group: usize, x: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) -> Statistics {
        let stats = statistics(x, self.eps);
        let first = group * self.channels_a_group();
        let planes = x.chunks_exact(self.plane).zip(out.chunks_exact_mut(self.plane));
        for (channel, (x, out)) in planes.enumerate() {
            // y = x · scale + shift is the whole normalisation of a channel.
            let scale = weight[first + channel] * stats.inverse_deviation;
            let shift = bias[first + channel] - stats.mean * scale;
            match self.then {
                Then::Nothing => out.iter_mut().zip(x).for_each(|(out, x)| *out = x * scale + shift),
                Then::Silu => out.iter_mut().zip(x).for_each(|(out, x)| {
                    let z = x * scale + shift;
                    *out = z * sigmoid(z);
                }),
            }
        }
        stats
    }

    /// The gradient of one group's input, with the gradients of its channels' weight and bias.
    ///
    /// With x̂ the normalised input, w the weight and d = ∂L/∂z w: ∂L/∂x = (d − mean(d) − x̂ mean(d x̂)) / σ.
    #[inline(always)]
    fn backward_group(
        &self,
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
            if self.then == Then::Silu {
                for ((out, x), grad) in out.iter_mut().zip(x).zip(grad) {
                    let z = x * scale + shift;
                    let s = sigmoid(z);
                    *out = grad * (s + z * s * (1.0 - s));
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
            out.iter_mut().zip(x).for_each(|(out, x)| *out = *out * a - x * b + c);
        }
    }
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (cpu::slice(x, lx)?, cpu::slice(w, lw)?, cpu::slice(b, lb)?);
        let mut out = vec![0.0; x.len()];
        if x.is_empty() {
            return cpu::result(out, lx.shape());
        }
        let arch = pulp::Arch::new();
        let statistics = x
            .par_chunks_exact(self.group_size())
            .zip(out.par_chunks_exact_mut(self.group_size()))
            .enumerate()
            .map(|(i, (x, out))| arch.dispatch(|| self.forward_group(i % self.groups, x, weight, bias, out)))
            .collect();
        // A second forward pass over the same op would compute the same values.
        let _ = self.statistics.set(statistics);
        cpu::result(out, lx.shape())
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(statistics) = self.statistics.get() else { bail!("group_norm: backward before forward") };
        cpu::with_slices([x, weight, bias, grad], |[values, w, b, grads]| {
            let mut grad_x = vec![0.0; values.len()];
            let (grad_w, grad_b) = self.backward(statistics, values, w, b, grads, &mut grad_x);
            Ok((
                Some(Tensor::from_vec(grad_x, x.shape(), x.device())?),
                Some(Tensor::from_vec(grad_w, weight.shape(), x.device())?),
                Some(Tensor::from_vec(grad_b, bias.shape(), x.device())?),
            ))
        })
    }
}

impl GroupNorm {
    /// Every group's input gradient into `grad_x`, and the gradients of weight and bias summed over the images: each
    /// thread sums a run of images, and the runs are added in order.
    fn backward(
        &self,
        statistics: &[Statistics],
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        grad: &[f32],
        grad_x: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let (size, channels) = (self.group_size(), self.channels_a_group());
        let image = (size * self.groups).max(1);
        let images_a_run = (x.len() / image).div_ceil(rayon::current_num_threads()).max(1);
        let arch = pulp::Arch::new();
        let sums: Vec<_> = grad_x
            .par_chunks_mut(images_a_run * image)
            .enumerate()
            .map(|(run, out)| {
                let (mut grad_weight, mut grad_bias) = (vec![0.0; self.channels], vec![0.0; self.channels]);
                for (i, out) in out.chunks_exact_mut(size).enumerate() {
                    let all = run * images_a_run * self.groups + i;
                    let of_channels = (i % self.groups) * channels..(i % self.groups + 1) * channels;
                    let (x, grad) = (&x[all * size..][..size], &grad[all * size..][..size]);
                    arch.dispatch(|| {
                        self.backward_group(
                            (&weight[of_channels.clone()], &bias[of_channels.clone()]),
                            statistics[all],
                            (x, grad),
                            out,
                            (&mut grad_weight[of_channels.clone()], &mut grad_bias[of_channels.clone()]),
                        );
                    });
                }
                (grad_weight, grad_bias)
            })
            .collect();
        let mut total = (vec![0.0; self.channels], vec![0.0; self.channels]);
        for (grad_weight, grad_bias) in sums {
            total.0.iter_mut().zip(grad_weight).for_each(|(sum, more)| *sum += more);
            total.1.iter_mut().zip(grad_bias).for_each(|(sum, more)| *sum += more);
        }
        total
    }
}
