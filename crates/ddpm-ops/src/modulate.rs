//! Scaling and shifting: by constants, or by values of each channel of each image.

use std::sync::Arc;

use candle_core::{Result, bail};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::reduce::{sum_of, sum_of_pairs};
use crate::cpu::vectorise::vectorise;
use crate::tape::{Gradients, Tape, Value};

impl Tape {
    /// x (1 + scale) + shift, with the scales and shifts of each channel of each image.
    ///
    /// # Shapes
    /// `x` [batch, channel, …]; `scale_and_shift` [batch, 2 channel], all scales of an image before its shifts.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn modulate(&self, x: &Value, scale_and_shift: &Value) -> Result<Value> {
        let &[batch, channels, ref rest @ ..] = x.dims() else { bail!("modulate: {:?} has no channels", x.dims()) };
        if scale_and_shift.dims() != [batch, 2 * channels] {
            let found = scale_and_shift.dims();
            bail!("modulate: expected scales and shifts of [{batch}, {}], found {found:?}", 2 * channels);
        }
        let (Some(array), Some(by)) = (x.fused().cloned(), scale_and_shift.fused().cloned()) else {
            return self.device_modulate(x, scale_and_shift);
        };
        let plane: usize = rest.iter().product();
        let image = channels * plane;
        let mut out = Buffer::new(array.values.len());
        let images = out.par_chunks_exact_mut(image.max(1)).zip(array.values.par_chunks_exact(image.max(1)));
        images.zip(by.values.par_chunks_exact((2 * channels).max(1))).for_each(|((out, x), by)| {
            vectorise(
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
        let dims = array.dims.clone();
        Ok(self.push(Arc::new(out), &dims, &[array.node, by.node], &[], || {
            Box::new(move |mut grad: Buffer, gradients: &mut Gradients| {
                let mut to_by = Buffer::new(by.values.len());
                let images = grad.par_chunks_exact_mut(image.max(1)).zip(array.values.par_chunks_exact(image.max(1)));
                let of_by = to_by.par_chunks_exact_mut((2 * channels).max(1));
                images.zip(of_by.zip(by.values.par_chunks_exact((2 * channels).max(1)))).for_each(
                    |((grad, x), (to_by, by))| {
                        vectorise(
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
                    },
                );
                gradients.add(array.node, grad);
                gradients.add(by.node, to_by);
                Ok(())
            })
        }))
    }

    /// x · scale + shift with two constants.
    ///
    /// # Errors
    /// When candle's operation fails.
    pub fn affine(&self, x: &Value, scale: f64, shift: f64) -> Result<Value> {
        let Some(array) = x.fused().cloned() else { return self.device_affine(x, scale, shift) };
        let (scale, shift) = (scale as f32, shift as f32);
        let mut out = Buffer::new(array.values.len());
        out.par_chunks_mut(PART).zip(array.values.par_chunks(PART)).for_each(|(out, x)| {
            vectorise(
                #[inline(always)]
                |fma| {
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = fma.mul_add(*x, scale, shift);
                    }
                },
            );
        });
        let dims = array.dims.clone();
        Ok(self.push(Arc::new(out), &dims, &[array.node], &[], || {
            Box::new(move |mut grad: Buffer, gradients: &mut Gradients| {
                grad.par_chunks_mut(PART).for_each(|grad| {
                    vectorise(
                        #[inline(always)]
                        |_| {
                            for grad in grad.iter_mut() {
                                *grad *= scale;
                            }
                        },
                    );
                });
                gradients.add(array.node, grad);
                Ok(())
            })
        }))
    }

    /// x + y.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn add(&self, x: &Value, y: &Value) -> Result<Value> {
        if x.dims() != y.dims() {
            bail!("add: tensors of shapes {:?} and {:?}", x.dims(), y.dims());
        }
        let (Some(a), Some(b)) = (x.fused().cloned(), y.fused().cloned()) else {
            return self.device_add(x, y);
        };
        let mut out = Buffer::copy_of(&a.values);
        crate::tape::add_to(&mut out, &b.values);
        Ok(self.push(Arc::new(out), &a.dims, &[a.node, b.node], &[], || {
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                if b.node.is_some() {
                    gradients.add(b.node, Buffer::copy_of(&grad));
                }
                gradients.add(a.node, grad);
                Ok(())
            })
        }))
    }
}

/// Elements a thread takes at a time.
const PART: usize = 1 << 15;
