//! Scaling and shifting by constants.

use candle_core::Result;
use rayon::prelude::*;

use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::vectorize::vectorize;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

/// Number of elements that a thread processes at a time.
const CHUNK: usize = 1 << 15;

pub(super) fn affine(backend: &CpuBackend, x: &Value, scale: f64, shift: f64) -> Result<Value> {
    let array = Array::of(x)?;
    let (scale, shift) = (scale as f32, shift as f32);
    let mut out = Buffer::new(array.values.len());
    out.par_chunks_mut(CHUNK).zip(array.values.par_chunks(CHUNK)).for_each(|(out, x)| {
        vectorize(
            #[inline(always)]
            |fma| {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = fma.mul_add(*x, scale, shift);
                }
            },
        );
    });
    let node = array.node;
    Ok(backend.push(out, x.dims(), &[node], &[], || {
        Box::new(move |mut grad: Buffer, gradients: &mut Gradients<Buffer>| {
            grad.par_chunks_mut(CHUNK).for_each(|grad| {
                vectorize(
                    #[inline(always)]
                    |_| {
                        for grad in grad.iter_mut() {
                            *grad *= scale;
                        }
                    },
                );
            });
            gradients.add(node, grad);
            Ok(())
        })
    }))
}
