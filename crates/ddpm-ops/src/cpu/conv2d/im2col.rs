//! Convolution as a matrix product: every window of the input is a column. For machines without the matrix unit.

use std::borrow::Cow;

use crate::cpu;
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::conv2d::padded_planes::images_of_positions;
use crate::cpu::gemm::{Into, Strides, gemm};
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};
use crate::cpu::reduce::sum_of;

/// Convolution as the product of the weights with all windows of the input (im2col), on the `gemm` crate.
#[derive(Debug)]
pub(crate) struct Im2col;

impl ConvKernel for Im2col {
    fn name(&self) -> &'static str {
        "im2col"
    }

    fn supports(&self, _: &Geometry, _: usize) -> bool {
        true
    }

    fn images_together(&self, geometry: &Geometry, images: usize, threads: usize) -> usize {
        images_of_positions(geometry, images, threads)
    }

    fn divides_its_work(&self) -> bool {
        false
    }

    fn pack<'a>(&self, _: &Geometry, weight: &'a [f32]) -> ConvWeights<'a> {
        ConvWeights::Plain(Cow::Borrowed(weight))
    }

    fn pack_flipped(&self, geometry: &Geometry, weight: &[f32]) -> ConvWeights<'static> {
        ConvWeights::Plain(Cow::Owned(flipped(geometry, weight)))
    }

    fn forward(
        &self,
        geometry: &Geometry,
        weights: &ConvWeights<'_>,
        images: usize,
        input: &Input<'_>,
        bias: Option<&[f32]>,
        out: &mut Output<'_>,
        threads: usize,
    ) {
        forward(geometry, weights.plain(), images, input, bias, out, threads);
    }

    fn gradient_sums(&self, geometry: &Geometry) -> WeightGradientSums {
        WeightGradientSums::new(WeightGradient::new(*geometry))
    }

    fn accumulate(
        &self,
        sums: &mut WeightGradientSums,
        images: usize,
        input: &Input<'_>,
        grad: &[f32],
        threads: usize,
    ) {
        sums.get_mut::<WeightGradient>().add(images, input, grad, threads);
    }

    fn finish(&self, _: &Geometry, sums: Vec<WeightGradientSums>) -> (Buffer, Buffer) {
        WeightGradient::finish(WeightGradientSums::into_vec(sums))
    }
}

/// Lowers `images` images to [channel, ky, kx, image, y, x]: row-major, one row for each value of a window.
fn im2col(geometry: &Geometry, images: usize, input: &Input<'_>, columns: &mut [f32]) {
    let Geometry { channels_in, height, width, kernel, .. } = *geometry;
    let (padding, plane) = (geometry.padding(), geometry.plane());
    cpu::with_spare(plane, |spare| {
        for (channel, rows) in columns.chunks_exact_mut(geometry.taps() * images * plane).take(channels_in).enumerate()
        {
            for image in 0..images {
                let source = input.plane(image, channel, spare);
                for (tap, row) in rows.chunks_exact_mut(images * plane).enumerate() {
                    let row = &mut row[image * plane..(image + 1) * plane];
                    let (ky, kx) = (tap / kernel, tap % kernel);
                    let (ys, xs) = (inside(ky, padding, height), inside(kx, padding, width));
                    if ys.is_empty() || xs.is_empty() {
                        row.fill(0.0);
                        continue;
                    }
                    row[..ys.start * width].fill(0.0);
                    row[ys.end * width..].fill(0.0);
                    for y in ys {
                        let line = &mut row[y * width..(y + 1) * width];
                        line[..xs.start].fill(0.0);
                        line[xs.end..].fill(0.0);
                        let from = (y + ky - padding) * width + xs.start + kx - padding;
                        line[xs.clone()].copy_from_slice(&source[from..from + xs.len()]);
                    }
                }
            }
        }
    });
}

/// The output positions whose input position `position + offset - padding` lies in `0..size`.
fn inside(offset: usize, padding: usize, size: usize) -> std::ops::Range<usize> {
    let start = padding.saturating_sub(offset).min(size);
    let end = (size + padding).saturating_sub(offset).min(size);
    start..end.max(start)
}

/// The weights of the input's gradient: the kernel turned by 180°, channels in and out exchanged.
fn flipped(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    let (Geometry { channels_in, channels_out, .. }, taps) = (*geometry, geometry.taps());
    let mut turned = vec![0.0; weight.len()];
    for out in 0..channels_out {
        for input in 0..channels_in {
            let from = &weight[(out * channels_in + input) * taps..][..taps];
            let to = &mut turned[(input * channels_out + out) * taps..][..taps];
            to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    }
    turned
}

/// The convolution of `images` images of `input`, on `threads` threads.
fn forward(
    geometry: &Geometry,
    weight: &[f32],
    images: usize,
    input: &Input<'_>,
    bias: Option<&[f32]>,
    out: &mut Output<'_>,
    threads: usize,
) {
    let (window, plane, channels) = (geometry.window(), geometry.plane(), geometry.channels_out);
    let columns = images * plane;
    cpu::with_scratch((window + channels) * columns, |scratch| {
        let (lowered, product) = scratch.split_at_mut(window * columns);
        im2col(geometry, images, input, lowered);
        let (by_column, by_window) = (Strides::row_major(columns), Strides::row_major(window));
        let size = (channels, columns, window);
        gemm(size, product, by_column, Into::Replace, weight, by_window, lowered, by_column, threads);
        for (channel, product) in product.chunks_exact(columns.max(1)).enumerate() {
            let bias = bias.map_or(0.0, |bias| bias[channel]);
            for (image, product) in product.chunks_exact(plane).enumerate() {
                let to = out.plane(image, channel);
                to.iter_mut().zip(product).for_each(|(to, value)| *to = value + bias);
            }
        }
    });
}

/// The gradients of weight and bias over some images, added up run by run.
#[derive(Debug)]
struct WeightGradient {
    geometry: Geometry,
    weight: Buffer,
    bias: Buffer,
}

impl WeightGradient {
    fn new(geometry: Geometry) -> Self {
        let weight = Buffer::zeros(geometry.channels_out * geometry.window());
        Self { geometry, weight, bias: Buffer::zeros(geometry.channels_out) }
    }

    /// Adds what `images` images of `input` and the output's gradient [image, channel_out, height, width] give: the product of
    /// that gradient with the transposed lowered input.
    fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let geometry = self.geometry;
        let (window, plane, channels) = (geometry.window(), geometry.plane(), geometry.channels_out);
        let columns = images * plane;
        cpu::with_scratch((window + channels) * columns, |scratch| {
            let (lowered, by_channel) = scratch.split_at_mut(window * columns);
            im2col(&geometry, images, input, lowered);
            for (i, grad) in grad.chunks_exact(plane).enumerate() {
                let (image, channel) = (i / channels, i % channels);
                self.bias[channel] += sum_of(grad, |v| v) as f32;
                by_channel[channel * columns + image * plane..][..plane].copy_from_slice(grad);
            }
            let (by_window, by_column) = (Strides::row_major(window), Strides::row_major(columns));
            let (size, turned) = ((channels, window, columns), Strides::transposed(columns));
            gemm(size, &mut self.weight, by_window, Into::Add, by_channel, by_column, lowered, turned, threads);
        });
    }

    /// The gradients of weight [channel_out, channel_in, ky, kx] and bias `[channel_out]`, from the sums of all threads.
    fn finish(all: Vec<Self>) -> (Buffer, Buffer) {
        let total = all.into_iter().reduce(|mut total, more| {
            total.weight.iter_mut().zip(&more.weight[..]).for_each(|(sum, more)| *sum += more);
            total.bias.iter_mut().zip(&more.bias[..]).for_each(|(sum, more)| *sum += more);
            total
        });
        total.map_or_else(Default::default, |total| (total.weight, total.bias))
    }
}
