//! A convolution and what surrounds it, with the channels last.

use candle_core::{Result, Tensor};

use super::normalisation::Surroundings;
use super::primitives;
use crate::backend::rearrange::Rearrange;
use crate::conv2d::FusedConv2d;
use crate::tape::{Gradients, Tape, Value};

/// Where the gradients of a convolution's surroundings go.
#[derive(Debug, Clone, Copy)]
struct Nodes {
    input: Option<usize>,
    skip: Option<usize>,
    added: Option<usize>,
    image_bias: Option<usize>,
    residual: Option<usize>,
}

impl Nodes {
    /// Whether anything before the convolution wants a gradient.
    fn before(self) -> bool {
        self.input.is_some() || self.skip.is_some() || self.added.is_some()
    }
}

/// A normalisation's numbers and vectors.
#[derive(Debug)]
struct Norm {
    groups: usize,
    eps: f64,
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn around<'a>(&'a self, offset: Option<&'a Tensor>, residual: Option<&'a Tensor>) -> Surroundings<'a> {
        let Self { groups, eps, weight, bias } = self;
        Surroundings { groups: *groups, eps: *eps, silu: true, weight, bias, offset, residual }
    }
}

impl Tape {
    /// The shapes have been checked.
    pub(crate) fn device_conv2d(&self, op: &FusedConv2d<'_>) -> Result<Value> {
        let tensor = |value: Option<&Value>| value.map(|value| value.device().cloned()).transpose();
        let input = op.input.device()?.clone();
        let (skip, added) = (tensor(op.skip)?, tensor(op.added)?);
        let (image_bias, residual) = (tensor(op.image_bias)?, tensor(op.residual)?);
        let nodes = Nodes {
            input: input.node,
            skip: skip.as_ref().and_then(|v| v.node),
            added: added.as_ref().and_then(|v| v.node),
            image_bias: image_bias.as_ref().and_then(|v| v.node),
            residual: residual.as_ref().and_then(|v| v.node),
        };
        let (arrange, own_channels) = (op.arrange, input.dims[1]);

        let batch = input.dims[0];
        let (skip, added) = (skip.map(|skip| skip.tensor), added.map(|added| added.tensor));
        let x = match (&skip, &added, arrange) {
            (None, None, Rearrange::AsIs) => input.tensor,
            _ => primitives::join(&input.tensor, skip.as_ref(), added.as_ref(), arrange)?,
        };
        let kernel = self.kernel(op.weight)?;
        let y = primitives::convolution(&x, &kernel)?;

        // What is added to each channel of each image, of the layer's and the image's own.
        let bias = op.bias.map(|bias| self.vector(bias)).transpose()?;
        let offset = match (bias, image_bias) {
            (Some(bias), Some(own)) => Some(own.tensor.broadcast_add(&bias)?),
            (Some(bias), None) => Some(bias.broadcast_as((batch, bias.dim(0)?))?.contiguous()?),
            (None, own) => own.map(|own| own.tensor),
        };
        let residual = residual.map(|residual| residual.tensor);
        let norm = op.norm.map(|norm| -> Result<Norm> {
            let (weight, bias) = (self.vector(norm.weight)?, self.vector(norm.bias)?);
            Ok(Norm { groups: norm.groups, eps: norm.eps, weight, bias })
        });
        let norm = norm.transpose()?;
        let (out, normalised) = match norm {
            None => (primitives::raised(y, offset.as_ref(), residual.as_ref())?, None),
            Some(norm) => {
                let (out, statistics) =
                    primitives::normalisation(&y, &norm.around(offset.as_ref(), residual.as_ref()))?;
                (out, Some((norm, y, offset, statistics)))
            }
        };

        let inputs = [nodes.input, nodes.skip, nodes.added, nodes.image_bias, nodes.residual];
        let vectors = op.norm.map(|norm| (norm.weight, norm.bias));
        let parameters: Vec<&Tensor> =
            [Some(op.weight), op.bias, vectors.map(|v| v.0), vectors.map(|v| v.1)].into_iter().flatten().collect();
        Ok(self.push_device(out, &inputs, &parameters, || {
            let (weight, bias) = (op.weight.clone(), op.bias.cloned());
            let vectors = vectors.map(|(weight, bias)| (weight.clone(), bias.clone()));
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                gradients.add(nodes.residual, grad.clone());
                let (grad, by_offset) = match (&normalised, vectors) {
                    (Some((norm, y, offset, statistics)), Some((weight, bias))) => {
                        let around = norm.around(offset.as_ref(), None);
                        let by = primitives::normalisation_by_all(y, &around, statistics, &grad)?;
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
                drop(normalised);
                if let (Some(bias), Some(by_offset)) = (&bias, &by_offset) {
                    gradients.add_parameter(bias, by_offset.sum(0)?.to_dtype(bias.dtype())?);
                }
                if let Some(by_offset) = by_offset {
                    gradients.add(nodes.image_bias, by_offset);
                }
                if weight.track_op() {
                    let by_kernel = primitives::convolution_by_kernel(&x, &grad, kernel.dim(1)?)?;
                    gradients.add_parameter(&weight, primitives::kernel_by_weight(&by_kernel, &weight)?);
                }
                drop(x);
                if nodes.before() {
                    let grad = primitives::convolution_by_input(&grad, &kernel)?;
                    before(&grad, arrange, own_channels, nodes, gradients)?;
                }
                Ok(())
            })
        }))
    }
}

/// The gradients of what is joined, raised and rearranged before a convolution.
fn before(
    grad: &Tensor,
    arrange: Rearrange,
    own_channels: usize,
    nodes: Nodes,
    gradients: &mut Gradients<Tensor>,
) -> Result<()> {
    let times = if arrange == Rearrange::PixelUnshuffle2x { 4 } else { 1 };
    let both = grad.dim(3)? / times;
    let part = |from: usize, channels: usize| primitives::join_by_part(grad, arrange, both, from, channels);
    let parts = match both - own_channels {
        0 if arrange == Rearrange::AsIs => vec![grad.clone()],
        0 => vec![part(0, both)?],
        others => vec![part(0, own_channels)?, part(own_channels, others)?],
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
