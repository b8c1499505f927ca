//! A convolution and the operations around it.

use candle_core::{Result, Tensor};

use crate::backend::conv2d::{Conv2dShape, FusedConv2d};
use crate::backend::norm::Norm;
use crate::backend::rearrange::Rearrange;
use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::fused_norm::FusedNorm;
use crate::device::primitives::{self, Statistics};
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn conv2d(backend: &DeviceBackend, op: &FusedConv2d<'_>, shape: &Conv2dShape) -> Result<Value> {
    let array = |value: Option<&Value>| value.map(DeviceArray::of).transpose();
    let input = DeviceArray::of(op.input)?;
    let (skip, added) = (array(op.skip)?, array(op.added)?);
    let (image_bias, residual) = (array(op.image_bias)?, array(op.residual)?);
    let node = |array: &Option<DeviceArray>| array.as_ref().and_then(|array| array.node);
    let nodes = Nodes {
        input: input.node,
        skip: node(&skip),
        added: node(&added),
        image_bias: node(&image_bias),
        residual: node(&residual),
    };
    let tensor = |array: Option<DeviceArray>| array.map(|array| array.tensor);
    let (skip, added, residual) = (tensor(skip), tensor(added), tensor(residual));
    let x = match (&skip, &added, op.arrange) {
        (None, None, Rearrange::AsIs) => input.tensor,
        _ => primitives::join(&input.tensor, skip.as_ref(), added.as_ref(), op.arrange)?,
    };
    let kernel = backend.kernel(op.weight)?;
    let y = primitives::convolution(&x, &kernel)?;
    let offset = offset(backend, op.bias, tensor(image_bias).as_ref())?;
    let affine = op.norm.map(|norm| Affine::of(backend, &norm)).transpose()?;
    let (out, normalized) = match affine {
        None => (primitives::add_offset_and_residual(y, offset.as_ref(), residual.as_ref())?, None),
        Some(affine) => {
            let (out, statistics) = primitives::group_norm(&y, &affine.fused(offset.as_ref(), residual.as_ref()))?;
            (out, Some(Normalized { affine, y, offset, statistics }))
        }
    };
    let norm = op.norm.map(|norm| [norm.weight, norm.bias]);
    let parameters: Vec<&Tensor> =
        [Some(op.weight), op.bias].into_iter().chain(norm.into_iter().flatten().map(Some)).flatten().collect();
    Ok(backend.push(out, &nodes.all(), &parameters, || {
        let parameters = Parameters {
            weight: op.weight.clone(),
            bias: op.bias.cloned(),
            norm: norm.map(|[weight, bias]| (weight.clone(), bias.clone())),
        };
        let saved = Saved { nodes, shape: *shape, arrange: op.arrange, parameters, x, kernel, normalized };
        Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| saved.backward(grad, gradients))
    }))
}

/// The values added to each channel of each image after the convolution, the layer's bias and the image's: [batch,
/// channel], or [1, channel] without a bias of the image.
fn offset(backend: &DeviceBackend, bias: Option<&Tensor>, image_bias: Option<&Tensor>) -> Result<Option<Tensor>> {
    let bias = bias.map(|bias| backend.vector(bias)).transpose()?;
    Ok(match (bias, image_bias) {
        (Some(bias), Some(image_bias)) => Some(image_bias.broadcast_add(&bias)?),
        (Some(bias), None) => Some(bias.unsqueeze(0)?),
        (None, image_bias) => image_bias.cloned(),
    })
}

/// The nodes of the gradients of the inputs.
#[derive(Debug, Clone, Copy)]
struct Nodes {
    input: Option<usize>,
    skip: Option<usize>,
    added: Option<usize>,
    image_bias: Option<usize>,
    residual: Option<usize>,
}

impl Nodes {
    fn all(self) -> [Option<usize>; 5] {
        [self.input, self.skip, self.added, self.image_bias, self.residual]
    }

    /// Whether an input of the convolution itself needs a gradient.
    fn before_convolution(self) -> bool {
        self.input.is_some() || self.skip.is_some() || self.added.is_some()
    }
}

/// The normalization after the convolution, with scale and shift in the wide type.
#[derive(Debug)]
struct Affine {
    groups: usize,
    eps: f64,
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    fn of(backend: &DeviceBackend, norm: &Norm<'_>) -> Result<Self> {
        let (weight, bias) = (backend.vector(norm.weight)?, backend.vector(norm.bias)?);
        Ok(Self { groups: norm.groups, eps: norm.eps, weight, bias })
    }

    fn fused<'a>(&'a self, offset: Option<&'a Tensor>, residual: Option<&'a Tensor>) -> FusedNorm<'a> {
        let Self { groups, eps, weight, bias } = self;
        FusedNorm { groups: *groups, eps: *eps, silu: true, weight, bias, offset, residual }
    }
}

/// The data that the gradient of the normalization reads.
#[derive(Debug)]
struct Normalized {
    affine: Affine,
    /// The result of the convolution.
    y: Tensor,
    offset: Option<Tensor>,
    statistics: Statistics,
}

#[derive(Debug)]
struct Parameters {
    weight: Tensor,
    bias: Option<Tensor>,
    norm: Option<(Tensor, Tensor)>,
}

/// The data that the gradient of the convolution reads.
#[derive(Debug)]
struct Saved {
    nodes: Nodes,
    shape: Conv2dShape,
    arrange: Rearrange,
    parameters: Parameters,
    /// The input that the kernel read.
    x: Tensor,
    kernel: Tensor,
    normalized: Option<Normalized>,
}

impl Saved {
    fn backward(self, grad: Tensor, gradients: &mut Gradients<Tensor>) -> Result<()> {
        let Self { nodes, shape, arrange, parameters: Parameters { weight, bias, norm }, x, kernel, normalized } = self;
        gradients.add(nodes.residual, grad.clone());
        let (grad, offset_gradient) = match (&normalized, norm) {
            (Some(Normalized { affine, y, offset, statistics }), Some((weight, bias))) => {
                let fused = affine.fused(offset.as_ref(), None);
                let by = primitives::group_norm_backward(y, &fused, statistics, &grad)?;
                gradients.add_parameter(&weight, by.weight.to_dtype(weight.dtype())?);
                gradients.add_parameter(&bias, by.bias.to_dtype(bias.dtype())?);
                (by.input, Some(by.offset))
            }
            _ if bias.is_some() || nodes.image_bias.is_some() => {
                let sums = primitives::sums_over_positions(&grad)?;
                (grad, Some(sums))
            }
            _ => (grad, None),
        };
        // Saved tensors are freed as soon as they have been read: the largest of a step are alive here.
        drop(normalized);
        if let (Some(bias), Some(offset_gradient)) = (&bias, &offset_gradient) {
            gradients.add_parameter(bias, offset_gradient.sum(0)?.to_dtype(bias.dtype())?);
        }
        if let Some(offset_gradient) = offset_gradient {
            gradients.add(nodes.image_bias, offset_gradient);
        }
        if weight.track_op() {
            let by_kernel = primitives::convolution_kernel_backward(&x, &grad, shape.kernel)?;
            gradients.add_parameter(&weight, primitives::kernel_backward(&by_kernel, &weight)?);
        }
        drop(x);
        if nodes.before_convolution() {
            let grad = primitives::convolution_input_backward(&grad, &kernel)?;
            input_backward(&grad, arrange, &shape, nodes, gradients)?;
        }
        Ok(())
    }
}

/// Adds the gradients of input, skip and added values, given the gradient of what the kernel read.
fn input_backward(
    grad: &Tensor,
    arrange: Rearrange,
    shape: &Conv2dShape,
    nodes: Nodes,
    gradients: &mut Gradients<Tensor>,
) -> Result<()> {
    let (own, skip) = (shape.input_channels, shape.skip_channels);
    let part = |from: usize, channels: usize| primitives::join_backward(grad, arrange, own + skip, from, channels);
    let parts = match skip {
        0 if arrange == Rearrange::AsIs => vec![grad.clone()],
        0 => vec![part(0, own)?],
        _ => vec![part(0, own)?, part(own, skip)?],
    };
    if nodes.added.is_some() {
        let sums = parts.iter().map(primitives::sums_over_positions).collect::<Result<Vec<_>>>()?;
        gradients.add(nodes.added, Tensor::cat(&sums, 1)?);
    }
    for (node, part) in [nodes.input, nodes.skip].into_iter().zip(parts) {
        gradients.add(node, part);
    }
    Ok(())
}
