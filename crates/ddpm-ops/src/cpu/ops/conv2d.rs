//! A convolution and the operations around it, in one pass over the images.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use crate::backend::conv2d::{Conv2dShape, FusedConv2d};
use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::ConvWeights;
use crate::cpu::group_norm::{GroupNormKernel, Statistics};
use crate::cpu::ops::conv2d_backward::{Normalized, backward};
use crate::cpu::ops::conv2d_inputs::{Conv2dInputs, Division, split_off};
use crate::cpu::planes::Output;
use crate::cpu::tensor_slice::with_slices;
use crate::cpu::vectorize::vectorize;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn conv2d(backend: &CpuBackend, op: &FusedConv2d<'_>, shape: &Conv2dShape) -> Result<Value> {
    let inputs = Conv2dInputs::of(op, shape)?;
    let geometry = inputs.geometry();
    let norm = op.norm.map(|norm| GroupNormKernel::new(&norm, shape.channels_out, geometry.plane(), true));
    let residual = op.residual.map(Array::of).transpose()?;
    // An absent parameter is a tensor without elements, which needs no gradient.
    let absent = Tensor::zeros(0, DType::F32, &Device::Cpu)?;
    let [scale, shift] = op.norm.map_or([&absent, &absent], |norm| [norm.weight, norm.bias]);
    let tensors = [op.weight, op.bias.unwrap_or(&absent), scale, shift];
    let Forward { out, before_norm, statistics } = with_slices(tensors, |[weight, bias, scale, shift]| {
        let kernel = inputs.division().kernel;
        let cache = backend.weight_cache.as_ref();
        let cached = cache.and_then(|cache| cache.weights(kernel, &geometry, op.weight.id(), weight));
        let packed;
        let weights = match &cached {
            Some(cached) => cached.as_ref(),
            None => {
                packed = kernel.pack(&geometry, weight);
                &packed
            }
        };
        let epilogue = Epilogue {
            norm: norm.as_ref().map(|norm| (norm, scale, shift)),
            residual: residual.as_ref().map(|residual| &residual.values[..]),
        };
        Ok(forward(&inputs, weights, op.bias.map(|_| bias), &epilogue))
    })?;
    let node = |array: &Option<Array>| array.as_ref().and_then(|array| array.node);
    let residual = node(&residual);
    let nodes = [inputs.input.node, node(&inputs.skip), node(&inputs.added), node(&inputs.image_bias), residual];
    let parameters: Vec<&Tensor> = tensors.into_iter().filter(|t| t.elem_count() > 0).collect();
    Ok(backend.push(out, &shape.output_dims(), &nodes, &parameters, || {
        let [weight, bias, scale, shift] = tensors.map(Clone::clone);
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            let normalized = norm.zip(before_norm).map(|(kernel, input)| Normalized { kernel, input, statistics });
            let parameters = with_slices([&weight, &scale, &shift], |[weight, scale, shift]| {
                Ok(backward(&inputs, weight, normalized.as_ref(), (scale, shift), &grad, gradients))
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

/// The operations after the convolution.
#[derive(Debug)]
struct Epilogue<'a> {
    /// The normalization, with its scale and its shift.
    norm: Option<(&'a GroupNormKernel, &'a [f32], &'a [f32])>,
    residual: Option<&'a [f32]>,
}

/// The result of the forward pass.
struct Forward {
    out: Buffer,
    /// The input of the normalization, if there is one.
    before_norm: Option<Buffer>,
    /// Statistics of each group of each image.
    statistics: Vec<Statistics>,
}

/// The images of one call of the kernel, and where their results go.
struct Call<'a> {
    images: Range<usize>,
    out: &'a mut [f32],
    before_norm: Option<&'a mut [f32]>,
    statistics: &'a mut [Statistics],
}

fn forward(inputs: &Conv2dInputs, weights: &ConvWeights<'_>, bias: Option<&[f32]>, epilogue: &Epilogue<'_>) -> Forward {
    let (images, image) = (inputs.shape.batch, inputs.geometry().image_out());
    let groups = epilogue.norm.map_or(0, |(norm, ..)| norm.groups());
    let division = inputs.division();
    let mut out = Buffer::new(images * image);
    let mut before_norm = epilogue.norm.map(|_| Buffer::new(images * image));
    let mut statistics = vec![Statistics::default(); images * groups];
    let mut calls = Vec::new();
    {
        let (mut out, mut statistics) = (&mut out[..], &mut statistics[..]);
        let mut before_norm = before_norm.as_deref_mut();
        for images in division.calls(0..images) {
            let n = images.len();
            let (own, rest) = before_norm.take().map(|all| all.split_at_mut(n * image)).unzip();
            before_norm = rest;
            let (out, statistics) = (split_off(&mut out, n * image), split_off(&mut statistics, n * groups));
            calls.push(Call { images, out, before_norm: own, statistics });
        }
    }
    let run = |call: Call<'_>| run_call(inputs, &division, weights, bias, epilogue, call);
    if division.threads > 1 {
        calls.into_iter().for_each(run)
    } else {
        calls.into_par_iter().for_each(run)
    }
    Forward { out, before_norm, statistics }
}

/// Computes the images of one call.
fn run_call(
    inputs: &Conv2dInputs,
    division: &Division,
    weights: &ConvWeights<'_>,
    bias: Option<&[f32]>,
    epilogue: &Epilogue<'_>,
    Call { images, out, before_norm, statistics }: Call<'_>,
) {
    let geometry = inputs.geometry();
    let input = inputs.planes().from(images.start);
    let elements = images.start * geometry.image_out()..images.end * geometry.image_out();
    let residual = epilogue.residual.map(|residual| &residual[elements]);
    let convolve = |to: &mut [f32]| {
        let mut planes = Output::plain(to, geometry.channels_out, geometry.plane());
        division.kernel.forward(&geometry, weights, images.len(), &input, bias, &mut planes, division.threads);
        if let Some(bias) = &inputs.image_bias {
            let channels = images.start * geometry.channels_out..images.end * geometry.channels_out;
            add_to_planes(to, geometry.plane(), &bias.values[channels]);
        }
    };
    match (epilogue.norm, before_norm) {
        (Some((norm, scale, shift)), Some(before_norm)) => {
            convolve(before_norm);
            norm.forward(before_norm, (scale, shift), residual, out, statistics);
        }
        _ => {
            convolve(out);
            if let Some(residual) = residual {
                out.iter_mut().zip(residual).for_each(|(out, residual)| *out += residual);
            }
        }
    }
}

/// Adds one value to each plane.
fn add_to_planes(out: &mut [f32], plane: usize, values: &[f32]) {
    vectorize(
        #[inline(always)]
        |_| {
            for (out, value) in out.chunks_exact_mut(plane.max(1)).zip(values) {
                for out in out.iter_mut() {
                    *out += value;
                }
            }
        },
    );
}
