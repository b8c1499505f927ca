//! Convolution as one matrix product: im2col copies every window of the input to a column of a matrix, which the
//! weights are multiplied with. This kernel supports every geometry.

use std::borrow::Cow;

use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::conv2d::padded_planes::PaddedPlanes;
use crate::cpu::gemm::{Strides, WriteMode, gemm};
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};
use crate::cpu::reduce::sum_of;
use crate::cpu::scratch::{with_scratch, with_second_scratch};

/// Convolution as the product of the weights with the im2col matrix of the input.
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
        PaddedPlanes::images_together(geometry, images, threads)
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

/// Copies `images` images to the im2col matrix [channel, ky, kx, image, y, x], which has a row for each element of a
/// window and a column for each position.
fn im2col(geometry: &Geometry, images: usize, input: &Input<'_>, columns: &mut [f32]) {
    let Geometry { channels_in, height, width, kernel, .. } = *geometry;
    let (padding, plane) = (geometry.padding(), geometry.plane());
    with_second_scratch(plane, |scratch| {
        for (channel, rows) in columns.chunks_exact_mut(geometry.taps() * images * plane).take(channels_in).enumerate()
        {
            for image in 0..images {
                let source = input.plane(image, channel, scratch);
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

/// The output positions, of `0..size`, whose input position `position + offset - padding` lies in `0..size` too.
fn inside(offset: usize, padding: usize, size: usize) -> std::ops::Range<usize> {
    let start = padding.saturating_sub(offset).min(size);
    let end = (size + padding).saturating_sub(offset).min(size);
    start..end.max(start)
}

/// The flipped weights: the kernel rotated by 180°, input and output channels exchanged.
fn flipped(geometry: &Geometry, weight: &[f32]) -> Vec<f32> {
    let (Geometry { channels_in, channels_out, .. }, taps) = (*geometry, geometry.taps());
    let mut flipped = vec![0.0; weight.len()];
    for out in 0..channels_out {
        for input in 0..channels_in {
            let from = &weight[(out * channels_in + input) * taps..][..taps];
            let to = &mut flipped[(input * channels_out + out) * taps..][..taps];
            to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
        }
    }
    flipped
}

/// Convolves `images` images of `input` on `threads` threads.
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
    with_scratch((window + channels) * columns, |scratch| {
        let (matrix, product) = scratch.split_at_mut(window * columns);
        im2col(geometry, images, input, matrix);
        let (by_column, by_window) = (Strides::row_major(columns), Strides::row_major(window));
        let size = (channels, columns, window);
        gemm(size, product, by_column, WriteMode::Replace, weight, by_window, matrix, by_column, threads);
        for (channel, product) in product.chunks_exact(columns.max(1)).enumerate() {
            let bias = bias.map_or(0.0, |bias| bias[channel]);
            for (image, product) in product.chunks_exact(plane).enumerate() {
                let to = out.plane(image, channel);
                to.iter_mut().zip(product).for_each(|(to, value)| *to = value + bias);
            }
        }
    });
}

/// The gradients of weight and bias, summed over images.
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

    /// Adds the contribution of `images` images of `input` and of the output's gradient `grad` [image, channel_out,
    /// height, width]: the product of the gradient [channel_out, position] with the transposed im2col matrix.
    fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let geometry = self.geometry;
        let (window, plane, channels) = (geometry.window(), geometry.plane(), geometry.channels_out);
        let columns = images * plane;
        with_scratch((window + channels) * columns, |scratch| {
            let (matrix, by_channel) = scratch.split_at_mut(window * columns);
            im2col(&geometry, images, input, matrix);
            for (i, grad) in grad.chunks_exact(plane).enumerate() {
                let (image, channel) = (i / channels, i % channels);
                self.bias[channel] += sum_of(grad, |v| v) as f32;
                by_channel[channel * columns + image * plane..][..plane].copy_from_slice(grad);
            }
            let (by_window, by_column) = (Strides::row_major(window), Strides::row_major(columns));
            let (size, transposed) = ((channels, window, columns), Strides::transposed(columns));
            gemm(size, &mut self.weight, by_window, WriteMode::Add, by_channel, by_column, matrix, transposed, threads);
        });
    }

    /// The gradients of weight [channel_out, channel_in, ky, kx] and bias `[channel_out]`: the sums of all threads,
    /// added in order.
    fn finish(all: Vec<Self>) -> (Buffer, Buffer) {
        let total = all.into_iter().reduce(|mut total, more| {
            total.weight.iter_mut().zip(&more.weight[..]).for_each(|(sum, more)| *sum += more);
            total.bias.iter_mut().zip(&more.bias[..]).for_each(|(sum, more)| *sum += more);
            total
        });
        total.map_or_else(Default::default, |total| (total.weight, total.bias))
    }
}
