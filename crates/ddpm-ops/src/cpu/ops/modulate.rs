//! Scaling and shifting by values of each channel of each image.

use candle_core::Result;
use rayon::prelude::*;

use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::reduce::{sum_of, sum_of_pairs};
use crate::cpu::vectorize::vectorize;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn modulate(backend: &CpuBackend, x: &Value, scale_and_shift: &Value) -> Result<Value> {
    let (array, by) = (Array::of(x)?, Array::of(scale_and_shift)?);
    let channels = x.dims()[1];
    let plane: usize = x.dims()[2..].iter().product();
    let image = channels * plane;
    let mut out = Buffer::new(array.values.len());
    let images = out.par_chunks_exact_mut(image.max(1)).zip(array.values.par_chunks_exact(image.max(1)));
    images.zip(by.values.par_chunks_exact((2 * channels).max(1))).for_each(|((out, x), by)| {
        vectorize(
            #[inline(always)]
            |fma| {
                let planes = out.chunks_exact_mut(plane.max(1)).zip(x.chunks_exact(plane.max(1)));
                for (channel, (out, x)) in planes.enumerate() {
                    let (scale, shift) = (1.0 + by[channel], by[channels + channel]);
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = fma.mul_add(*x, scale, shift);
                    }
                }
            },
        );
    });
    Ok(backend.push(out, x.dims(), &[array.node, by.node], &[], || {
        Box::new(move |mut grad: Buffer, gradients: &mut Gradients<Buffer>| {
            let mut to_by = Buffer::new(by.values.len());
            let images = grad.par_chunks_exact_mut(image.max(1)).zip(array.values.par_chunks_exact(image.max(1)));
            let factors = to_by
                .par_chunks_exact_mut((2 * channels).max(1))
                .zip(by.values.par_chunks_exact((2 * channels).max(1)));
            images
                .zip(factors)
                .for_each(|((grad, x), (to_by, by))| image_backward((channels, plane), grad, x, to_by, by));
            gradients.add(array.node, grad);
            gradients.add(by.node, to_by);
            Ok(())
        })
    }))
}

/// Converts the gradient of one image of the result to that of the input, and sums those of its scales and shifts.
fn image_backward((channels, plane): (usize, usize), grad: &mut [f32], x: &[f32], to_by: &mut [f32], by: &[f32]) {
    vectorize(
        #[inline(always)]
        |_| {
            let planes = grad.chunks_exact_mut(plane.max(1)).zip(x.chunks_exact(plane.max(1)));
            for (channel, (grad, x)) in planes.enumerate() {
                to_by[channel] = sum_of_pairs(grad, x, |grad, x| grad * x) as f32;
                to_by[channels + channel] = sum_of(grad, |grad| grad) as f32;
                let scale = 1.0 + by[channel];
                for grad in grad.iter_mut() {
                    *grad *= scale;
                }
            }
        },
    );
}
