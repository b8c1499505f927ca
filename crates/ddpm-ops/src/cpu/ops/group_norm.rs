//! Group normalization.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::backend::norm::Norm;
use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::group_norm::{GroupNormKernel, NormGradient, Statistics};
use crate::cpu::tensor_slice::with_slices;
use crate::cpu::work_division::even_ranges;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn group_norm(backend: &CpuBackend, x: &Value, norm: &Norm<'_>, silu: bool) -> Result<Value> {
    let channels = x.dims()[1];
    let kernel = GroupNormKernel::new(norm, channels, x.dims()[2..].iter().product(), silu);
    let array = Array::of(x)?;
    let image = kernel.image();
    let images = array.values.len() / image.max(1);
    let mut out = Buffer::new(array.values.len());
    let mut statistics = vec![Statistics::default(); images * kernel.groups()];
    with_slices([norm.weight, norm.bias], |[weight, bias]| {
        array
            .values
            .par_chunks_exact(image.max(1))
            .zip(out.par_chunks_exact_mut(image.max(1)))
            .zip(statistics.par_chunks_exact_mut(kernel.groups()))
            .for_each(|((x, out), statistics)| kernel.forward(x, (weight, bias), None, out, statistics));
        Ok(())
    })?;
    Ok(backend.push(out, x.dims(), &[array.node], &[norm.weight, norm.bias], || {
        let (weight, bias) = (norm.weight.clone(), norm.bias.clone());
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            let (to, sums) = backward(&kernel, (&weight, &bias), &statistics, &array.values, &grad)?;
            gradients.add_parameter(&weight, sums.weight);
            gradients.add_parameter(&bias, sums.bias);
            gradients.add(array.node, to);
            Ok(())
        })
    }))
}

/// The gradients of the input and of the parameters. Each thread takes a share of the images, and the shares' sums are
/// added in order.
fn backward(
    kernel: &GroupNormKernel,
    (weight, bias): (&Tensor, &Tensor),
    statistics: &[Statistics],
    x: &[f32],
    grad: &[f32],
) -> Result<(Buffer, NormGradient)> {
    let (image, groups, channels) = (kernel.image(), kernel.groups(), weight.elem_count());
    let mut to = Buffer::new(grad.len());
    let shares = even_ranges(grad.len() / image.max(1), rayon::current_num_threads());
    let share = shares.iter().map(std::ops::Range::len).max().unwrap_or(1).max(1);
    with_slices([weight, bias], |[weight, bias]| {
        let sums: Vec<NormGradient> = to
            .par_chunks_mut((share * image).max(1))
            .enumerate()
            .map(|(i, to)| {
                let elements = i * share * image..i * share * image + to.len();
                let mut sums = NormGradient::new(channels);
                let statistics = &statistics[i * share * groups..];
                let (x, grad) = (&x[elements.clone()], &grad[elements]);
                kernel.backward((weight, bias), statistics, x, grad, to, &mut sums);
                sums
            })
            .collect();
        let mut total = NormGradient::new(channels);
        sums.iter().for_each(|more| total.merge(more));
        Ok(total)
    })
    .map(|total| (to, total))
}
