//! Two-dimensional convolution with bias, stride 1, and both its gradients.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::composed;
use crate::cpu;
use crate::gemm::{Into, Strides, gemm};
use crate::im2col::{Geometry, im2col};
use crate::reduce::sum_of;

/// The cross-correlation of `x` with `weight` at stride 1, zeros around the edges, plus `bias`.
///
/// # Shapes
/// `x` [batch, channel_in, height, width], `weight` [channel_out, channel_in, k, k], `bias` `[channel_out]`; the result is
/// [batch, channel_out, height + 2 padding + 1 − k, width + 2 padding + 1 − k].
///
/// # Errors
/// When the channels of `x` and `weight` differ, the kernel is not square, or it is larger than the padded image.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize) -> Result<Tensor> {
    let op = Conv2d(geometry(x, weight, bias, padding)?);
    let fused = cpu::takes(&[x, weight]);
    match bias {
        _ if !fused => composed::conv2d(x, weight, bias, padding),
        Some(bias) => x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, op),
        None => x.contiguous()?.apply_op2(&weight.contiguous()?, op),
    }
}

fn geometry(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: usize) -> Result<Geometry> {
    let (_, channels_in, height, width) = x.dims4()?;
    let (channels_out, channels, kernel, kernel_x) = weight.dims4()?;
    if channels != channels_in || kernel != kernel_x {
        bail!("conv2d: a weight of shape {:?} does not fit an input of shape {:?}", weight.dims(), x.dims());
    }
    if kernel == 0 || height + 2 * padding < kernel || width + 2 * padding < kernel {
        bail!("conv2d: a {kernel}×{kernel} kernel, padding {padding}, does not fit a {height}×{width} image");
    }
    if let Some(bias) = bias
        && bias.dims() != [channels_out]
    {
        bail!("conv2d: expected a bias of shape [{channels_out}], found {:?}", bias.dims());
    }
    Ok(Geometry { channels_in, channels_out, height, width, kernel, padding })
}

#[derive(Debug)]
struct Conv2d(Geometry);

impl Conv2d {
    fn forward(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let images = x.len() / self.0.image_in().max(1);
        let mut out = vec![0.0; images * self.0.image_out()];
        forward(&self.0, images, x, weight, bias, &mut out);
        cpu::result(out, (images, self.0.channels_out, self.0.height_out(), self.0.width_out()))
    }

    fn backward(&self, x: &Tensor, weight: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Tensor, Tensor)> {
        let images = x.dim(0)?;
        cpu::with_slices([x, weight, grad], |[x_values, weights, grads]| {
            let (grad_weight, grad_bias) = backward_weight(&self.0, images, x_values, grads);
            let grad_x = if x.track_op() {
                let values = backward_input(&self.0, images, weights, grads);
                Some(Tensor::from_vec(values, x.shape(), x.device())?)
            } else {
                None
            };
            let grad_weight = Tensor::from_vec(grad_weight, weight.shape(), x.device())?;
            Ok((grad_x, grad_weight, Tensor::from_vec(grad_bias, self.0.channels_out, x.device())?))
        })
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, w: &CpuStorage, lw: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(cpu::slice(x, lx)?, cpu::slice(w, lw)?, None)
    }

    fn bwd(&self, x: &Tensor, w: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (grad_x, grad_w, _) = self.backward(x, w, grad)?;
        Ok((grad_x, Some(grad_w)))
    }
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
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
        self.forward(cpu::slice(x, lx)?, cpu::slice(w, lw)?, Some(cpu::slice(b, lb)?))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (grad_x, grad_w, grad_b) = self.backward(x, w, grad)?;
        Ok((grad_x, Some(grad_w), Some(grad_b)))
    }
}

/// How many columns a matrix product should have: fewer leave the kernel's pipeline empty on small images, more push
/// the lowered matrix out of the second-level cache.
const COLUMNS: usize = 512;

/// How many images are lowered together.
fn images_together(geometry: &Geometry, images: usize) -> usize {
    let by_size = COLUMNS.div_ceil(geometry.plane_out().max(1));
    let by_threads = images.div_ceil(rayon::current_num_threads());
    by_size.min(by_threads).max(1)
}

fn forward(geometry: &Geometry, images: usize, x: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    let (window, plane, channels) = (geometry.window(), geometry.plane_out(), geometry.channels_out);
    let together = images_together(geometry, images);
    // Where there are fewer images than threads, the threads share the product of each image instead.
    let threads = if images < rayon::current_num_threads() { rayon::current_num_threads() } else { 1 };
    let one = |(x, out): (&[f32], &mut [f32])| {
        let images = x.len() / geometry.image_in();
        let columns = images * plane;
        lowered(geometry, images, x, |lowered, spare| {
            let by_column = Strides::row_major(columns);
            let product = |to: &mut [f32]| {
                let size = (channels, columns, window);
                let by_window = Strides::row_major(window);
                gemm(size, to, by_column, Into::Replace, weight, by_window, lowered, by_column, threads);
            };
            if images == 1 {
                product(out);
            } else {
                product(spare);
                unpack(spare, images, channels, plane, out);
            }
        });
        if let Some(bias) = bias {
            for (plane, bias) in out.chunks_exact_mut(plane).zip(bias.iter().cycle()) {
                plane.iter_mut().for_each(|value| *value += bias);
            }
        }
    };
    let (x_chunk, out_chunk) = (together * geometry.image_in(), together * geometry.image_out());
    if x_chunk == 0 || out_chunk == 0 {
        return;
    }
    if threads > 1 {
        x.chunks(x_chunk).zip(out.chunks_mut(out_chunk)).for_each(one);
    } else {
        x.par_chunks(x_chunk).zip(out.par_chunks_mut(out_chunk)).for_each(one);
    }
}

/// Lends `f` the lowered matrix of `images` images and as much spare scratch as their output and gradient take.
fn lowered(geometry: &Geometry, images: usize, x: &[f32], f: impl FnOnce(&[f32], &mut [f32])) {
    let columns = images * geometry.plane_out();
    let spare = geometry.channels_out * columns;
    if geometry.is_pointwise() && images == 1 {
        return cpu::with_scratch(spare, |spare| f(x, spare));
    }
    let size = geometry.window() * columns;
    cpu::with_scratch(size + spare, |scratch| {
        let (lowered, spare) = scratch.split_at_mut(size);
        im2col(geometry, images, x, lowered);
        f(lowered, spare);
    });
}

/// [channel, image, plane] to [image, channel, plane].
fn unpack(packed: &[f32], images: usize, channels: usize, plane: usize, out: &mut [f32]) {
    for (i, out) in out.chunks_exact_mut(plane).enumerate() {
        let (image, channel) = (i / channels, i % channels);
        let start = (channel * images + image) * plane;
        out.copy_from_slice(&packed[start..start + plane]);
    }
}

/// [image, channel, plane] to [channel, image, plane].
fn pack(images_first: &[f32], images: usize, channels: usize, plane: usize, packed: &mut [f32]) {
    for (i, values) in images_first.chunks_exact(plane).enumerate() {
        let (image, channel) = (i / channels, i % channels);
        let start = (channel * images + image) * plane;
        packed[start..start + plane].copy_from_slice(values);
    }
}

/// The gradient of the input: the convolution of the output's gradient with the kernel turned by 180° and its channel
/// axes exchanged.
fn backward_input(geometry: &Geometry, images: usize, weight: &[f32], grad: &[f32]) -> Vec<f32> {
    let Geometry { channels_in, channels_out, kernel, padding, .. } = *geometry;
    let taps = kernel * kernel;
    let mut turned = vec![0.0; weight.len()];
    for out in 0..channels_out {
        for input in 0..channels_in {
            let from = &weight[(out * channels_in + input) * taps..][..taps];
            let to = &mut turned[(input * channels_out + out) * taps..][..taps];
            to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    }
    let transposed = Geometry {
        channels_in: channels_out,
        channels_out: channels_in,
        height: geometry.height_out(),
        width: geometry.width_out(),
        kernel,
        // A padding of at least the kernel would need the gradient cropped; no network here has one.
        padding: kernel - 1 - padding.min(kernel - 1),
    };
    let mut grad_x = vec![0.0; images * geometry.image_in()];
    forward(&transposed, images, grad, &turned, None, &mut grad_x);
    grad_x
}

/// The gradients of weight and bias: the product of the output's gradient with the transposed lowered input, summed
/// over the images. Each thread sums a run of images, and the runs are added in order.
fn backward_weight(geometry: &Geometry, images: usize, x: &[f32], grad: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let (window, plane, channels) = (geometry.window(), geometry.plane_out(), geometry.channels_out);
    let together = images_together(geometry, images);
    let threads = rayon::current_num_threads();
    let inner_threads = if images < threads { threads } else { 1 };
    let sum = |run: std::ops::Range<usize>| {
        let mut grad_weight = vec![0.0; channels * window];
        let mut grad_bias = vec![0.0; channels];
        let x = &x[run.start * geometry.image_in()..run.end * geometry.image_in()];
        let grad = &grad[run.start * geometry.image_out()..run.end * geometry.image_out()];
        let pairs = x
            .chunks((together * geometry.image_in()).max(1))
            .zip(grad.chunks((together * geometry.image_out()).max(1)));
        for (x, grad) in pairs {
            let images = x.len() / geometry.image_in();
            let columns = images * plane;
            for (i, plane) in grad.chunks_exact(plane).enumerate() {
                grad_bias[i % channels] += sum_of(plane, |v| v) as f32;
            }
            lowered(geometry, images, x, |lowered, spare| {
                let grad = if images == 1 {
                    grad
                } else {
                    pack(grad, images, channels, plane, &mut spare[..channels * columns]);
                    &spare[..channels * columns]
                };
                gemm(
                    (channels, window, columns),
                    &mut grad_weight,
                    Strides::row_major(window),
                    Into::Add,
                    grad,
                    Strides::row_major(columns),
                    lowered,
                    Strides::transposed(columns),
                    inner_threads,
                );
            });
        }
        (grad_weight, grad_bias)
    };
    let runs = cpu::runs(images, if inner_threads > 1 { 1 } else { threads });
    let mut sums = runs.into_par_iter().map(sum).collect::<Vec<_>>().into_iter();
    let Some((mut weight, mut bias)) = sums.next() else { return (Vec::new(), Vec::new()) };
    for (more_weight, more_bias) in sums {
        weight.iter_mut().zip(more_weight).for_each(|(sum, more)| *sum += more);
        bias.iter_mut().zip(more_bias).for_each(|(sum, more)| *sum += more);
    }
    (weight, bias)
}
