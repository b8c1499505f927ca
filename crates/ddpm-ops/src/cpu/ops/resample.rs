//! Halving and doubling of height and width.

use candle_core::Result;
use rayon::prelude::*;

use crate::backend::resample::Resample;
use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn resample(backend: &CpuBackend, x: &Value, resample: Resample) -> Result<Value> {
    let (batch, channels, height, width) = x.dims4()?;
    let array = Array::of(x)?;
    let (to_height, to_width) = resample.size(height, width);
    let mut out = Buffer::new(batch * channels * to_height * to_width);
    let (plane, to_plane) = (height * width, to_height * to_width);
    let planes = out.par_chunks_exact_mut(to_plane.max(1)).zip(array.values.par_chunks_exact(plane.max(1)));
    planes.for_each(|(to, from)| forward(resample, from, width, to));
    let (node, elements) = (array.node, array.values.len());
    Ok(backend.push(out, &[batch, channels, to_height, to_width], &[node], &[], || {
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            let mut to = Buffer::new(elements);
            let planes = to.par_chunks_exact_mut(plane.max(1)).zip(grad.par_chunks_exact(to_plane.max(1)));
            planes.for_each(|(to, grad)| backward(resample, grad, width, to));
            gradients.add(node, to);
            Ok(())
        })
    }))
}

/// Resamples one plane with rows of `width` pixels.
fn forward(resample: Resample, from: &[f32], width: usize, to: &mut [f32]) {
    match resample {
        Resample::Nearest => {
            for (to, line) in to.chunks_exact_mut(4 * width).zip(from.chunks_exact(width)) {
                let (upper, lower) = to.split_at_mut(2 * width);
                for (block, value) in upper.chunks_exact_mut(2).zip(line) {
                    block.fill(*value);
                }
                lower.copy_from_slice(upper);
            }
        }
        Resample::Mean => {
            for (to, lines) in to.chunks_exact_mut(width / 2).zip(from.chunks_exact(2 * width)) {
                let (upper, lower) = lines.split_at(width);
                let blocks = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                for (to, (upper, lower)) in to.iter_mut().zip(blocks) {
                    *to = 0.25 * ((upper[0] + upper[1]) + (lower[0] + lower[1]));
                }
            }
        }
        Resample::Even | Resample::Odd => {
            let first = usize::from(resample == Resample::Odd);
            for (to, lines) in to.chunks_exact_mut(width / 2).zip(from.chunks_exact(2 * width)) {
                let line = &lines[first * width..(first + 1) * width];
                to.iter_mut().zip(line.chunks_exact(2)).for_each(|(to, block)| *to = block[first]);
            }
        }
    }
}

/// The gradient of a plane with rows of `width` pixels.
fn backward(resample: Resample, grad: &[f32], width: usize, to: &mut [f32]) {
    match resample {
        Resample::Nearest => {
            forward(Resample::Mean, grad, 2 * width, to);
            to.iter_mut().for_each(|to| *to *= 4.0);
        }
        Resample::Mean => {
            forward(Resample::Nearest, grad, width / 2, to);
            to.iter_mut().for_each(|to| *to *= 0.25);
        }
        Resample::Even | Resample::Odd => {
            let first = usize::from(resample == Resample::Odd);
            to.fill(0.0);
            for (lines, grad) in to.chunks_exact_mut(2 * width).zip(grad.chunks_exact(width / 2)) {
                let line = &mut lines[first * width..(first + 1) * width];
                line.chunks_exact_mut(2).zip(grad).for_each(|(block, grad)| block[first] = *grad);
            }
        }
    }
}
