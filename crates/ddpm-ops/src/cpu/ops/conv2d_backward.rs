//! The gradients of a convolution and of the operations around it.

use std::ops::Range;

use rayon::prelude::*;

use crate::backend::conv2d::Conv2dShape;
use crate::backend::rearrange::Rearrange;
use crate::cpu::backend::Array;
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::{ConvWeights, WeightGradientSums};
use crate::cpu::group_norm::{GroupNormKernel, NormGradient, Statistics};
use crate::cpu::ops::conv2d_inputs::{Conv2dInputs, Division, split_off};
use crate::cpu::planes::{Input, Output};
use crate::cpu::reduce::sum_of;
use crate::cpu::work_division::even_ranges;
use crate::tape::gradients::Gradients;

/// A normalization of the forward pass, with the tensors that its gradient reads.
pub(super) struct Normalized {
    pub(super) kernel: GroupNormKernel,
    pub(super) input: Buffer,
    pub(super) statistics: Vec<Statistics>,
}

/// The gradients of the parameters.
pub(super) struct ParameterGradients {
    pub(super) weight: Buffer,
    pub(super) bias: Buffer,
    pub(super) norm: NormGradient,
}

/// Adds the gradients of the inputs to `gradients` and returns those of the parameters.
///
/// Each thread takes a share of the images and sums the parameters' gradients over them; the shares' sums are added in
/// order.
pub(super) fn backward(
    inputs: &Conv2dInputs,
    weight: &[f32],
    normalized: Option<&Normalized>,
    affine: (&[f32], &[f32]),
    grad: &[f32],
    gradients: &mut Gradients<Buffer>,
) -> ParameterGradients {
    let (images, geometry, division) = (inputs.shape.batch, inputs.geometry(), inputs.division());
    let node = |array: &Option<Array>| array.as_ref().and_then(|array| array.node);
    let nodes = [inputs.input.node, node(&inputs.skip), node(&inputs.added)];
    let wanted = nodes.iter().any(Option::is_some);
    let weights = wanted.then(|| division.kernel.pack_flipped(&geometry, weight));
    let sizes = image_sizes(inputs, wanted);
    let mut to = sizes.map(|size| Buffer::new(images * size));
    let shares = even_ranges(images, if division.threads > 1 { 1 } else { rayon::current_num_threads() });
    let mut tasks = Vec::new();
    {
        let mut rest = to.each_mut().map(|buffer| &mut buffer[..]);
        for share in shares {
            let n = share.len();
            let mut sizes = sizes.iter();
            let own = rest.each_mut().map(|rest| split_off(rest, n * sizes.next().copied().unwrap_or(0)));
            tasks.push((share, own));
        }
    }
    let pass = BackwardPass { inputs, division, weights, normalized, affine, grad };
    let (sums, norms): (Vec<_>, Vec<_>) = tasks.into_par_iter().map(|(share, to)| pass.run(share, to)).collect();
    let mut norm = NormGradient::new(normalized.map_or(0, |_| geometry.channels_out));
    norms.iter().for_each(|more| norm.merge(more));
    let [to_input, to_skip, to_added, to_image_bias] = to;
    gradients.add(nodes[0], to_input);
    gradients.add(nodes[1], to_skip);
    gradients.add(nodes[2], to_added);
    gradients.add(node(&inputs.image_bias), to_image_bias);
    let (weight, bias) = division.kernel.finish(&geometry, sums);
    ParameterGradients { weight, bias, norm }
}

/// The numbers of elements of one image of the gradients of input, skip, added values and image bias, in this order; 0
/// for a gradient that is not needed. `wanted` is true if any of the first three is needed.
fn image_sizes(inputs: &Conv2dInputs, wanted: bool) -> [usize; 4] {
    let Conv2dShape { input_channels, skip_channels, input_height, input_width, channels_out, .. } = inputs.shape;
    let plane = input_height * input_width;
    let added = if inputs.added.is_some() { input_channels + skip_channels } else { 0 };
    let [input, skip, added] =
        [input_channels * plane, skip_channels * plane, added].map(|size| if wanted { size } else { 0 });
    let image_bias = inputs.image_bias.as_ref().and_then(|bias| bias.node).map_or(0, |_| channels_out);
    [input, skip, added, image_bias]
}

/// The data that the backward pass of every share reads.
struct BackwardPass<'a> {
    inputs: &'a Conv2dInputs,
    division: Division,
    /// The flipped weights; `None` if no gradient of an input is needed.
    weights: Option<ConvWeights<'static>>,
    normalized: Option<&'a Normalized>,
    /// Scale and shift of the normalization.
    affine: (&'a [f32], &'a [f32]),
    /// The gradient of the result.
    grad: &'a [f32],
}

impl BackwardPass<'_> {
    /// The gradients of the images of one share, written to `to`, and the sums of the parameters' gradients.
    fn run(&self, share: Range<usize>, to: [&mut [f32]; 4]) -> (WeightGradientSums, NormGradient) {
        let (inputs, geometry, Division { kernel, threads, .. }) = (self.inputs, self.inputs.geometry(), self.division);
        let [mut to_input, mut to_skip, mut to_added, mut to_image_bias] = to;
        let sizes = image_sizes(inputs, self.weights.is_some());
        let image = geometry.image_out();
        let mut sums = kernel.gradient_sums(&geometry);
        let mut norm_sums = NormGradient::new(self.normalized.map_or(0, |_| geometry.channels_out));
        let mut through_norm = Buffer::default();
        for images in self.division.calls(share) {
            let n = images.len();
            let mut grad = &self.grad[images.start * image..images.end * image];
            if let Some(normalized) = self.normalized {
                if through_norm.len() != n * image {
                    through_norm = Buffer::new(n * image);
                }
                normalized.backward(images.clone(), self.affine, grad, &mut through_norm, &mut norm_sums);
                grad = &through_norm;
            }
            let biases = split_off(&mut to_image_bias, n * sizes[3]);
            for (bias, grad) in biases.iter_mut().zip(grad.chunks_exact(geometry.plane().max(1))) {
                *bias = sum_of(grad, |v| v) as f32;
            }
            kernel.accumulate(&mut sums, n, &inputs.planes().from(images.start), grad, threads);
            let Some(weights) = &self.weights else { continue };
            let (to_input, to_skip) = (split_off(&mut to_input, n * sizes[0]), split_off(&mut to_skip, n * sizes[1]));
            self.input_backward(weights, n, grad, (to_input, to_skip), split_off(&mut to_added, n * sizes[2]));
        }
        (sums, norm_sums)
    }

    /// The gradients of input, skip and added values of `n` images, given the gradient of the convolution's result.
    fn input_backward(
        &self,
        weights: &ConvWeights<'_>,
        n: usize,
        grad: &[f32],
        (to_input, to_skip): (&mut [f32], &mut [f32]),
        to_added: &mut [f32],
    ) {
        let (inputs, geometry, Division { kernel, threads, .. }) = (self.inputs, self.inputs.geometry(), self.division);
        let Conv2dShape { input_channels, skip_channels, input_height, input_width, .. } = inputs.shape;
        let input = Input::plain(grad, geometry.channels_out, geometry.plane());
        let input = Input { height: geometry.height, width: geometry.width, ..input };
        let geometry = geometry.transposed();
        let plane = input_height * input_width;
        let mut to = Output { first: (to_input, input_channels), second: Some((to_skip, skip_channels)), plane };
        if inputs.arrange == Rearrange::AsIs {
            kernel.forward(&geometry, weights, n, &input, None, &mut to, threads);
        } else {
            let mut arranged = Buffer::new(n * geometry.image_out());
            let mut whole = Output::plain(&mut arranged, geometry.channels_out, geometry.plane());
            kernel.forward(&geometry, weights, n, &input, None, &mut whole, threads);
            rearrange_backward(inputs, &arranged, n, &mut to);
        }
        let channels = input_channels + skip_channels;
        for (i, sum) in to_added.iter_mut().enumerate() {
            *sum = sum_of(to.plane(i / channels, i % channels), |v| v) as f32;
        }
    }
}

impl Normalized {
    /// The gradient of the normalization's input, of some images.
    fn backward(
        &self,
        images: Range<usize>,
        affine: (&[f32], &[f32]),
        grad: &[f32],
        out: &mut [f32],
        sums: &mut NormGradient,
    ) {
        let (image, groups) = (self.kernel.image(), self.kernel.groups());
        let input = &self.input[images.start * image..images.end * image];
        let statistics = &self.statistics[images.start * groups..images.end * groups];
        self.kernel.backward(affine, statistics, input, grad, out, sums);
    }
}

/// Writes the gradient of planes before they were rearranged, given the gradient `arranged` of those afterwards.
fn rearrange_backward(inputs: &Conv2dInputs, arranged: &[f32], images: usize, to: &mut Output<'_>) {
    let Conv2dShape { input_channels, skip_channels, input_height, input_width, height, width, .. } = inputs.shape;
    let (channels, plane) = (input_channels + skip_channels, height * width);
    for image in 0..images {
        for channel in 0..channels {
            let to = to.plane(image, channel);
            let planes = |factor: usize| &arranged[(image * channels + channel) * factor * plane..][..factor * plane];
            match inputs.arrange {
                Rearrange::AsIs => to.copy_from_slice(planes(1)),
                Rearrange::UpsampleNearest2x => sum_blocks(planes(1), input_width, to),
                Rearrange::PixelUnshuffle2x => shuffle(planes(4), (input_height, input_width), to),
            }
        }
    }
}

/// Sums every 2 × 2 block of a plane into one pixel of `to`, which has rows of `width` pixels.
fn sum_blocks(from: &[f32], width: usize, to: &mut [f32]) {
    for (to, lines) in to.chunks_exact_mut(width).zip(from.chunks_exact(4 * width)) {
        let (upper, lower) = lines.split_at(2 * width);
        let blocks = upper.chunks_exact(2).zip(lower.chunks_exact(2));
        for (to, (upper, lower)) in to.iter_mut().zip(blocks) {
            *to = (upper[0] + upper[1]) + (lower[0] + lower[1]);
        }
    }
}

/// Writes four planes as the 2 × 2 blocks of one: the inverse of pixel unshuffle.
fn shuffle(from: &[f32], (height, width): (usize, usize), to: &mut [f32]) {
    let plane = (height / 2) * (width / 2);
    for part in 0..4 {
        let from = &from[part * plane..][..plane];
        for y in 0..height / 2 {
            let line = &mut to[(2 * y + part / 2) * width..][..width];
            let from = &from[y * (width / 2)..][..width / 2];
            for (block, value) in line.chunks_exact_mut(2).zip(from) {
                block[part % 2] = *value;
            }
        }
    }
}
