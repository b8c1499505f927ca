//! Two-dimensional convolution and what surrounds it in a network, as one operation with its own gradient.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::backend::rearrange::Rearrange;
use crate::cpu;
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::{ConvKernel, ConvWeights, select};
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output, Part};
use crate::cpu::reduce::sum_of;
use crate::cpu::vectorise::vectorise;
use crate::group_norm::{GroupNorm, NormGradient, Statistics};
use crate::tape::{Array, Gradients, Tape, Value};

/// Group normalisation after a convolution, followed by SiLU.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Groups that the channels divide into.
    pub groups: usize,
    /// Scale, `[channel_out]`.
    pub weight: &'a Tensor,
    /// Shift, `[channel_out]`.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
}

/// A convolution at stride 1 that keeps height and width, and what surrounds it:
/// silu(norm(weight ∗ arrange(join + added) + bias + image_bias)) + residual.
#[derive(Debug, Clone, Copy)]
pub struct FusedConv2d<'a> {
    /// What is convolved, [batch, channel, height, width].
    pub input: &'a Value,
    /// More channels of it: a skip connection.
    pub skip: Option<&'a Value>,
    /// A value for each channel of each image, [batch, channel]: a time bias.
    pub added: Option<&'a Value>,
    /// A rearrangement of the joined planes before they are convolved.
    pub arrange: Rearrange,
    /// [channel_out, channel_in, k, k] with odd k; there are zeros around the image. [channel_out, channel_in] where k is 1.
    pub weight: &'a Tensor,
    /// `[channel_out]`
    pub bias: Option<&'a Tensor>,
    /// A bias of each image's own, [batch, channel_out]: a time bias on the result.
    pub image_bias: Option<&'a Value>,
    /// Normalisation and SiLU of the result; None for the plain convolution.
    pub norm: Option<Norm<'a>>,
    /// Added at the end, of the result's shape.
    pub residual: Option<&'a Value>,
}

impl<'a> FusedConv2d<'a> {
    /// The plain convolution.
    pub fn new(input: &'a Value, weight: &'a Tensor, bias: Option<&'a Tensor>) -> Self {
        let arrange = Rearrange::AsIs;
        Self { input, skip: None, added: None, arrange, weight, bias, image_bias: None, norm: None, residual: None }
    }
}

/// The cross-correlation of `x` with `weight` at stride 1, zeros around the edges, plus `bias`: [`Tape::conv2d`] as an operation
/// of candle's.
///
/// # Shapes
/// `x` [batch, channel_in, height, width], `weight` [channel_out, channel_in, k, k] with odd k, `bias` `[channel_out]`; the
/// result is [batch, channel_out, height, width].
///
/// # Errors
/// Those of [`Tape::conv2d`].
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    crate::fused(&[x], |tape, values| tape.conv2d(&FusedConv2d::new(&values[0], weight, bias)))
}

/// Shapes of everything, checked.
#[derive(Debug, Clone, Copy)]
struct Shapes {
    images: usize,
    /// Before the planes are rearranged.
    height: usize,
    width: usize,
    first: usize,
    second: usize,
    geometry: Geometry,
}

impl FusedConv2d<'_> {
    fn shapes(&self) -> Result<Shapes> {
        let (images, first, height, width) = self.input.dims4()?;
        let second = match self.skip.map(Value::dims4).transpose()? {
            None => 0,
            Some((i, channels, h, w)) if (i, h, w) == (images, height, width) => channels,
            Some(found) => bail!("conv2d: a skip of shape {found:?} beside an input of {:?}", self.input.dims()),
        };
        if self.arrange == Rearrange::PixelUnshuffle2x && !(height.is_multiple_of(2) && width.is_multiple_of(2)) {
            bail!("pixel unshuffle: expected an even height and width, found {height}×{width}");
        }
        if let Some(added) = self.added
            && added.dims() != [images, first + second]
        {
            bail!("conv2d: expected values of shape [{images}, {}], found {:?}", first + second, added.dims());
        }
        let (channels_in, height_out, width_out) = self.arrange.shape((first + second, height, width));
        let (channels_out, channels, kernel, kernel_x) = match *self.weight.dims() {
            [channels_out, channels] => (channels_out, channels, 1, 1),
            _ => self.weight.dims4()?,
        };
        if channels != channels_in || kernel != kernel_x || kernel.is_multiple_of(2) {
            let found = self.weight.dims();
            bail!("conv2d: expected a weight of {channels_in} channels and odd square kernel, found shape {found:?}");
        }
        let norm = self.norm.iter().flat_map(|norm| [norm.weight, norm.bias]);
        for vector in self.bias.into_iter().chain(norm) {
            if vector.dims() != [channels_out] {
                bail!("conv2d: expected a vector of shape [{channels_out}], found {:?}", vector.dims());
            }
        }
        if let Some(bias) = self.image_bias
            && bias.dims() != [images, channels_out]
        {
            bail!("conv2d: expected a bias of shape [{images}, {channels_out}], found {:?}", bias.dims());
        }
        if let Some(residual) = self.residual
            && residual.dims() != [images, channels_out, height_out, width_out]
        {
            let expected = [images, channels_out, height_out, width_out];
            bail!("conv2d: expected a residual of shape {expected:?}, found {:?}", residual.dims());
        }
        let geometry = Geometry { channels_in, channels_out, height: height_out, width: width_out, kernel };
        Ok(Shapes { images, height, width, first, second, geometry })
    }
}

impl Tape {
    /// silu(norm(weight ∗ arrange(join + added) + bias + image_bias)) + residual, without the tensors between.
    ///
    /// # Errors
    /// When the shapes do not fit, the kernel is not square or even, or the groups do not divide the channels.
    pub fn conv2d(&self, op: &FusedConv2d<'_>) -> Result<Value> {
        let shapes = op.shapes()?;
        let geometry = shapes.geometry;
        let norm =
            op.norm.map(|norm| GroupNorm::new(norm.groups, geometry.channels_out, geometry.plane(), norm.eps, true));
        let norm = norm.transpose()?;
        let optional = |value: Option<&Value>| value.map(|value| value.fused().cloned());
        let Some(input) = op.input.fused().cloned() else { return self.device_conv2d(op) };
        let (skip, added) = (optional(op.skip).flatten(), optional(op.added).flatten());
        let (image_bias, residual) = (optional(op.image_bias).flatten(), optional(op.residual).flatten());
        let saved = Saved { shapes, arrange: op.arrange, input, skip, added, image_bias };

        let empty = Tensor::zeros(0, candle_core::DType::F32, &candle_core::Device::Cpu)?;
        let vectors = op.norm.map_or([&empty, &empty], |norm| [norm.weight, norm.bias]);
        let tensors = [op.weight, op.bias.unwrap_or(&empty), vectors[0], vectors[1]];
        let forward = cpu::with_slices(tensors, |[weight, bias, scale, shift]| {
            let bias = op.bias.map(|_| bias);
            let (kernel, ..) = saved.division();
            let kept = self.prepacked.as_ref();
            let kept = kept.and_then(|kept| kept.weights(kernel, &geometry, op.weight.id(), weight));
            let made;
            let weights = match &kept {
                Some(kept) => kept.as_ref(),
                None => {
                    made = kernel.pack(&geometry, weight);
                    &made
                }
            };
            Ok(saved.forward(weights, bias, norm.as_ref(), (scale, shift), residual.as_ref().map(|r| &r.values[..])))
        })?;
        let Forward { out, before, statistics } = forward;
        let dims = [shapes.images, geometry.channels_out, geometry.height, geometry.width];
        let nodes = [
            saved.input.node,
            saved.skip.as_ref().and_then(|v| v.node),
            saved.added.as_ref().and_then(|v| v.node),
            saved.image_bias.as_ref().and_then(|v| v.node),
            residual.as_ref().and_then(|v| v.node),
        ];
        let parameters: Vec<&Tensor> = tensors.into_iter().filter(|t| t.elem_count() > 0).collect();
        Ok(self.push(Arc::new(out), &dims, &nodes, &parameters, || {
            let [weight, bias, scale, shift] = tensors.map(Clone::clone);
            let residual = nodes[4];
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                let of_norm = match (norm, before) {
                    (Some(norm), Some(before)) => Some((norm, before, statistics)),
                    _ => None,
                };
                let parameters = cpu::with_slices([&weight, &scale, &shift], |[weight, scale, shift]| {
                    Ok(saved.backward(weight, of_norm.as_ref(), (scale, shift), &grad, gradients))
                })?;
                gradients.add_parameter(&weight, parameters.weight);
                gradients.add_parameter(&bias, parameters.bias);
                gradients.add_parameter(&scale, parameters.norm.weight);
                gradients.add_parameter(&shift, parameters.norm.bias);
                gradients.add(residual, grad);
                Ok(())
            })
        }))
    }
}

/// What a convolution's gradient needs of its inputs.
struct Saved {
    shapes: Shapes,
    arrange: Rearrange,
    input: Array,
    skip: Option<Array>,
    added: Option<Array>,
    image_bias: Option<Array>,
}

struct Forward {
    out: Buffer,
    /// What was normalised, and each group's statistics.
    before: Option<Buffer>,
    statistics: Vec<Statistics>,
}

/// The images that are computed together, and where their values go.
struct ForwardTask<'a> {
    job: Range<usize>,
    out: &'a mut [f32],
    before: Option<&'a mut [f32]>,
    statistics: &'a mut [Statistics],
}

struct ParameterGradients {
    weight: Buffer,
    bias: Buffer,
    norm: NormGradient,
}

/// The images of one thread's share, in the runs that are computed together.
fn jobs(images: Range<usize>, together: usize) -> impl Iterator<Item = Range<usize>> {
    let end = images.end;
    images.step_by(together).map(move |from| from..end.min(from + together))
}

impl Saved {
    fn planes(&self) -> Input<'_> {
        let Shapes { first, second, height, width, .. } = self.shapes;
        Input {
            first: Part { values: &self.input.values, channels: first },
            second: self.skip.as_ref().map(|skip| Part { values: &skip.values, channels: second }),
            added: self.added.as_ref().map(|added| &added.values[..]),
            arrange: self.arrange,
            height,
            width,
            from: 0,
        }
    }

    /// Which kernel runs, how many images it computes together, and by how many threads each.
    fn division(&self) -> (&'static dyn ConvKernel, usize, usize) {
        let Shapes { images, geometry, .. } = self.shapes;
        let threads = rayon::current_num_threads();
        let kernel = select(&geometry, images);
        let together = kernel.images_together(&geometry, images, threads);
        // Kernels that divide their own work do so as soon as there are fewer runs than threads, the others when nothing else is
        // left to divide.
        let runs = if kernel.divides_its_work() { images.div_ceil(together) } else { images };
        (kernel, together, if runs < threads { threads } else { 1 })
    }

    fn forward(
        &self,
        weights: &ConvWeights<'_>,
        bias: Option<&[f32]>,
        norm: Option<&GroupNorm>,
        (scale, shift): (&[f32], &[f32]),
        residual: Option<&[f32]>,
    ) -> Forward {
        let Shapes { images, geometry, .. } = self.shapes;
        let (kernel, together, threads) = self.division();
        let image = geometry.image_out();
        let mut out = Buffer::new(images * image);
        let mut before = norm.map(|_| Buffer::new(images * image));
        let mut statistics = vec![Statistics::default(); norm.map_or(0, |norm| images * norm.groups())];
        let mut tasks = Vec::new();
        {
            let (mut out, mut statistics) = (&mut out[..], &mut statistics[..]);
            let mut before = before.as_deref_mut();
            for job in jobs(0..images, together) {
                let n = job.len();
                let of_job = before.take().map(|all| all.split_at_mut(n * image));
                let (of_job, rest) = of_job.unzip();
                before = rest;
                tasks.push(ForwardTask {
                    job,
                    out: split_off(&mut out, n * image),
                    before: of_job,
                    statistics: split_off(&mut statistics, norm.map_or(0, |norm| n * norm.groups())),
                });
            }
        }
        let planes = self.planes();
        let run = |ForwardTask { job, out, before, statistics }: ForwardTask<'_>| {
            let input = planes.from(job.start);
            let residual = residual.map(|residual| &residual[job.start * image..job.end * image]);
            match (norm, before) {
                (Some(norm), Some(before)) => {
                    let mut to = Output::plain(before, geometry.channels_out, geometry.plane());
                    kernel.forward(&geometry, weights, job.len(), &input, bias, &mut to, threads);
                    self.add_image_bias(job, before);
                    norm.forward(before, (scale, shift), residual, out, statistics);
                }
                _ => {
                    let mut to = Output::plain(out, geometry.channels_out, geometry.plane());
                    kernel.forward(&geometry, weights, job.len(), &input, bias, &mut to, threads);
                    self.add_image_bias(job, out);
                    if let Some(residual) = residual {
                        out.iter_mut().zip(residual).for_each(|(out, residual)| *out += residual);
                    }
                }
            }
        };
        if threads > 1 {
            tasks.into_iter().for_each(run)
        } else {
            tasks.into_par_iter().for_each(run)
        }
        Forward { out, before, statistics }
    }

    /// Adds each image's own bias to the results of some images.
    fn add_image_bias(&self, images: Range<usize>, out: &mut [f32]) {
        let Some(bias) = &self.image_bias else { return };
        let (channels, plane) = (self.shapes.geometry.channels_out, self.shapes.geometry.plane());
        let bias = &bias.values[images.start * channels..images.end * channels];
        vectorise(
            #[inline(always)]
            |_| {
                for (out, bias) in out.chunks_exact_mut(plane.max(1)).zip(bias) {
                    for out in out.iter_mut() {
                        *out += bias;
                    }
                }
            },
        );
    }

    fn backward(
        &self,
        weight: &[f32],
        norm: Option<&(GroupNorm, Buffer, Vec<Statistics>)>,
        (scale, shift): (&[f32], &[f32]),
        grad: &[f32],
        gradients: &mut Gradients,
    ) -> ParameterGradients {
        let Shapes { images, first, second, geometry, height, width } = self.shapes;
        let node = |array: &Option<Array>| array.as_ref().and_then(|array| array.node);
        let nodes = [self.input.node, node(&self.skip), node(&self.added)];
        let wanted = nodes.iter().any(Option::is_some);
        let (kernel, together, threads) = self.division();
        let weights = wanted.then(|| kernel.pack_flipped(&geometry, weight));
        let sized = |channels: usize| if wanted { images * channels } else { 0 };
        let plane = height * width;
        let mut to_input = Buffer::new(sized(first * plane));
        let mut to_skip = Buffer::new(sized(second * plane));
        let mut to_added = Buffer::new(if self.added.is_some() { sized(first + second) } else { 0 });
        let image_bias = node(&self.image_bias);
        let mut to_image_bias = Buffer::new(if image_bias.is_some() { images * geometry.channels_out } else { 0 });

        let shares = cpu::runs(images, if threads > 1 { 1 } else { rayon::current_num_threads() });
        let mut tasks = Vec::new();
        {
            let (mut to_input, mut to_skip, mut to_added) = (&mut to_input[..], &mut to_skip[..], &mut to_added[..]);
            let mut to_image_bias = &mut to_image_bias[..];
            for share in shares {
                let n = if wanted { share.len() } else { 0 };
                let of_share =
                    [split_off(&mut to_input, n * first * plane), split_off(&mut to_skip, n * second * plane)];
                let added = if self.added.is_some() { n * (first + second) } else { 0 };
                let biases = if image_bias.is_some() { share.len() * geometry.channels_out } else { 0 };
                let of_images = [split_off(&mut to_added, added), split_off(&mut to_image_bias, biases)];
                tasks.push((share, of_share, of_images));
            }
        }
        let planes = self.planes();
        let image = geometry.image_out();
        let run = |(share, of_share, of_images): (Range<usize>, [&mut [f32]; 2], [&mut [f32]; 2])| {
            let ([mut to_input, mut to_skip], [mut to_added, mut to_image_bias]) = (of_share, of_images);
            let mut of_weight = kernel.gradient_sums(&geometry);
            let mut of_norm = NormGradient::new(norm.map_or(0, |_| geometry.channels_out));
            let mut through_norm = Buffer::default();
            for job in jobs(share, together) {
                let n = job.len();
                let mut grad = &grad[job.start * image..job.end * image];
                if let Some((norm, before, statistics)) = norm {
                    if through_norm.len() != n * image {
                        through_norm = Buffer::new(n * image);
                    }
                    let before = &before[job.start * image..job.end * image];
                    let statistics = &statistics[job.start * norm.groups()..job.end * norm.groups()];
                    norm.backward((scale, shift), statistics, before, grad, &mut through_norm, &mut of_norm);
                    grad = &through_norm;
                }
                if image_bias.is_some() {
                    let biases = split_off(&mut to_image_bias, n * geometry.channels_out);
                    for (bias, grad) in biases.iter_mut().zip(grad.chunks_exact(geometry.plane().max(1))) {
                        *bias = sum_of(grad, |v| v) as f32;
                    }
                }
                kernel.accumulate(&mut of_weight, n, &planes.from(job.start), grad, threads);
                let Some(weights) = &weights else { continue };
                let (to_input, to_skip) =
                    (split_off(&mut to_input, n * first * plane), split_off(&mut to_skip, n * second * plane));
                let input = Input::plain(grad, geometry.channels_out, geometry.plane());
                let input = Input { height: geometry.height, width: geometry.width, ..input };
                let geometry = geometry.transposed();
                let mut to = Output { first: (to_input, first), second: Some((to_skip, second)), plane };
                if self.arrange == Rearrange::AsIs {
                    kernel.forward(&geometry, weights, n, &input, None, &mut to, threads);
                } else {
                    let mut arranged = Buffer::new(n * geometry.image_out());
                    let mut whole = Output::plain(&mut arranged, geometry.channels_out, geometry.plane());
                    kernel.forward(&geometry, weights, n, &input, None, &mut whole, threads);
                    self.arrange_back(&arranged, n, &mut to);
                }
                if self.added.is_some() {
                    for (i, sum) in split_off(&mut to_added, n * (first + second)).iter_mut().enumerate() {
                        *sum = sum_of(to.plane(i / (first + second), i % (first + second)), |v| v) as f32;
                    }
                }
            }
            (of_weight, of_norm)
        };
        let (of_weight, of_norm): (Vec<_>, Vec<_>) = tasks.into_par_iter().map(run).collect();
        let mut norm_total = NormGradient::new(norm.map_or(0, |_| geometry.channels_out));
        of_norm.iter().for_each(|more| norm_total.merge(more));
        gradients.add(nodes[0], to_input);
        gradients.add(nodes[1], to_skip);
        gradients.add(nodes[2], to_added);
        gradients.add(image_bias, to_image_bias);
        let (weight, bias) = kernel.finish(&geometry, of_weight);
        ParameterGradients { weight, bias, norm: norm_total }
    }

    /// The gradient of planes before they were rearranged.
    fn arrange_back(&self, arranged: &[f32], images: usize, to: &mut Output<'_>) {
        let Shapes { first, second, geometry, height, width, .. } = self.shapes;
        let plane = geometry.plane();
        for image in 0..images {
            for channel in 0..first + second {
                let to = to.plane(image, channel);
                match self.arrange {
                    Rearrange::AsIs => {
                        to.copy_from_slice(&arranged[(image * (first + second) + channel) * plane..][..plane])
                    }
                    Rearrange::UpsampleNearest2x => {
                        let from = &arranged[(image * (first + second) + channel) * plane..][..plane];
                        for (to, lines) in to.chunks_exact_mut(width).zip(from.chunks_exact(4 * width)) {
                            let (upper, lower) = lines.split_at(2 * width);
                            let blocks = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                            for (to, (upper, lower)) in to.iter_mut().zip(blocks) {
                                *to = (upper[0] + upper[1]) + (lower[0] + lower[1]);
                            }
                        }
                    }
                    Rearrange::PixelUnshuffle2x => {
                        for part in 0..4 {
                            let from = &arranged[((image * (first + second) + channel) * 4 + part) * plane..][..plane];
                            for y in 0..height / 2 {
                                let line = &mut to[(2 * y + part / 2) * width..][..width];
                                let from = &from[y * (width / 2)..][..width / 2];
                                for (block, value) in line.chunks_exact_mut(2).zip(from) {
                                    block[part % 2] = *value;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Takes the first `len` elements off a slice.
fn split_off<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    first
}
