//! Scaled dot-product attention, head by head.

use candle_core::Result;
use rayon::prelude::*;

use crate::backend::attention_shape::AttentionShape;
use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::exp::exp;
use crate::cpu::gemm::{Strides, WriteMode, gemm};
use crate::cpu::scratch::{with_scratch, with_second_scratch};
use crate::cpu::vectorize::vectorize;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn attention(backend: &CpuBackend, qkv: &Value, shape: AttentionShape) -> Result<Value> {
    let array = Array::of(qkv)?;
    let AttentionShape { batch, heads, head_channels, positions } = shape;
    let attention = Attention { heads, head_channels, positions };
    let out = attention.forward(&array.values);
    Ok(backend.push(out, &[batch, heads * head_channels, positions], &[array.node], &[], || {
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            gradients.add(array.node, attention.backward(&array.values, &grad));
            Ok(())
        })
    }))
}

/// Queries, keys and values of one head: each [channel, position], row-major.
struct Head<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

#[derive(Debug)]
struct Attention {
    heads: usize,
    head_channels: usize,
    positions: usize,
}

impl Attention {
    /// Elements of one of q, k, v of a head.
    fn head_size(&self) -> usize {
        self.head_channels * self.positions
    }

    fn head<'a>(&self, image: &'a [f32], head: usize) -> Head<'a> {
        let part = |part: usize| &image[(part * self.heads + head) * self.head_size()..][..self.head_size()];
        Head { q: part(0), k: part(1), v: part(2) }
    }

    /// Writes exp(kᵀ q / √d − max), [key, query], to `weights`, and for each query the reciprocal of its sum over the
    /// keys to `inverse`. The product of the two, column by column, is softmax(qᵀ k / √d). Queries are adjacent in
    /// memory, so that sums over keys are sums of rows, and the product with the values reads the matrix in its order.
    fn exponentials(&self, head: &Head<'_>, weights: &mut [f32], inverse: &mut [f32]) {
        let (n, d) = (self.positions, self.head_channels);
        let by_position = Strides::row_major(n);
        gemm(
            (n, n, d),
            weights,
            by_position,
            WriteMode::Replace,
            head.k,
            Strides::transposed(n),
            head.q,
            by_position,
            1,
        );
        let scale = (d as f32).sqrt().recip();
        with_second_scratch(n, |sums| {
            vectorize(
                #[inline(always)]
                |fma| {
                    // `inverse` holds the largest value of each query first.
                    inverse.fill(f32::NEG_INFINITY);
                    for row in weights.chunks_exact(n) {
                        inverse.iter_mut().zip(row).for_each(|(max, v)| *max = if *v > *max { *v } else { *max });
                    }
                    sums.fill(0.0);
                    for row in weights.chunks_exact_mut(n) {
                        for ((v, max), sum) in row.iter_mut().zip(&*inverse).zip(&mut *sums) {
                            *v = exp(fma, (*v - max) * scale);
                            *sum += *v;
                        }
                    }
                    inverse.iter_mut().zip(&*sums).for_each(|(inverse, sum)| *inverse = sum.recip());
                },
            );
        });
    }

    fn forward(&self, qkv: &[f32]) -> Buffer {
        let (n, d, size) = (self.positions, self.head_channels, self.head_size());
        let mut out = Buffer::new(qkv.len() / 3);
        out.par_chunks_exact_mut(size.max(1)).enumerate().for_each(|(i, out)| {
            let image = &qkv[i / self.heads * self.heads * 3 * size..];
            let head = self.head(image, i % self.heads);
            with_scratch(n * n + n, |scratch| {
                let (weights, inverse) = scratch.split_at_mut(n * n);
                self.exponentials(&head, weights, inverse);
                // out [channel, query] = v [channel, key] · weights [key, query]
                let row = Strides::row_major(n);
                gemm((d, n, n), out, row, WriteMode::Replace, head.v, row, weights, row, 1);
                for out in out.chunks_exact_mut(n) {
                    out.iter_mut().zip(&*inverse).for_each(|(out, inverse)| *out *= inverse);
                }
            });
        });
        out
    }

    fn backward(&self, qkv: &[f32], grad: &[f32]) -> Buffer {
        let mut out = Buffer::new(qkv.len());
        let image = 3 * self.heads * self.head_size();
        out.par_chunks_exact_mut(image.max(1)).enumerate().for_each(|(i, out)| {
            let grad = &grad[i * image / 3..][..image / 3];
            for head in 0..self.heads {
                self.backward_head(&qkv[i * image..][..image], grad, head, out);
            }
        });
        out
    }

    /// The gradients of one head's q, k and v. The weights P are recomputed instead of saved. In terms of Pᵀ [key,
    /// query]: ∂v = ∂o P, ∂Pᵀ = vᵀ ∂o, ∂Sᵀ = Pᵀ ∘ (∂Pᵀ − columnsum(∂Pᵀ ∘ Pᵀ)), ∂q = k ∂Sᵀ / √d, ∂k = q ∂S / √d.
    fn backward_head(&self, image: &[f32], grad: &[f32], index: usize, out: &mut [f32]) {
        let (n, d, size) = (self.positions, self.head_channels, self.head_size());
        let head = self.head(image, index);
        let grad = &grad[index * size..][..size];
        let (row, transposed) = (Strides::row_major(n), Strides::transposed(n));
        let scale = (d as f32).sqrt().recip();
        with_scratch(2 * n * n + 2 * n, |scratch| {
            let (weights, scratch) = scratch.split_at_mut(n * n);
            let (grad_weights, scratch) = scratch.split_at_mut(n * n);
            let (inverse, sums) = scratch.split_at_mut(n);
            self.exponentials(&head, weights, inverse);
            gemm((n, n, d), grad_weights, row, WriteMode::Replace, head.v, transposed, grad, row, 1);
            vectorize(
                #[inline(always)]
                |_| {
                    sums.fill(0.0);
                    for (p, g) in weights.chunks_exact_mut(n).zip(grad_weights.chunks_exact(n)) {
                        for (((p, g), inverse), sum) in p.iter_mut().zip(g).zip(&*inverse).zip(&mut *sums) {
                            *p *= inverse;
                            *sum += *p * g;
                        }
                    }
                    for (p, g) in weights.chunks_exact(n).zip(grad_weights.chunks_exact_mut(n)) {
                        for ((p, g), sum) in p.iter().zip(g).zip(&*sums) {
                            *g = p * (*g - sum) * scale;
                        }
                    }
                },
            );
            let mut part = |part: usize, a: &[f32], b: &[f32], b_strides| {
                let out = &mut out[(part * self.heads + index) * size..][..size];
                gemm((d, n, n), out, row, WriteMode::Replace, a, row, b, b_strides, 1);
            };
            part(2, grad, weights, transposed);
            part(0, head.k, grad_weights, row);
            part(1, head.q, grad_weights, transposed);
        });
    }
}
