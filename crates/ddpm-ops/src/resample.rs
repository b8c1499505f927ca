//! Height and width halved or doubled, without a convolution.

use std::sync::Arc;

use candle_core::{Result, bail};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::tape::{Gradients, Tape, Value};

/// A way to another height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resample {
    /// Every second row and column from the first: after a convolution, that at stride 2 with the same zeros on all sides.
    Even,
    /// Every second row and column from the second: after a convolution by a 3 × 3 kernel, that at stride 2 with zeros below and
    /// to the right alone.
    Odd,
    /// The mean of every 2 × 2 block.
    Mean,
    /// Every pixel as a 2 × 2 block of itself.
    Nearest,
}

impl Tape {
    /// Halves or doubles height and width.
    ///
    /// # Shapes
    /// [batch, channel, height, width]; height and width are even where they are halved.
    ///
    /// # Errors
    /// When the shape is another.
    pub fn resample(&self, x: &Value, how: Resample) -> Result<Value> {
        let (batch, channels, height, width) = x.dims4()?;
        if how != Resample::Nearest && !(height.is_multiple_of(2) && width.is_multiple_of(2)) {
            bail!("resample: expected an even height and width, found {height}×{width}");
        }
        let Some(array) = x.fused().cloned() else { return self.device_resample(x, how) };
        let (to_height, to_width) = match how {
            Resample::Nearest => (2 * height, 2 * width),
            _ => (height / 2, width / 2),
        };
        let mut out = Buffer::new(batch * channels * to_height * to_width);
        let (plane, to_plane) = (height * width, to_height * to_width);
        let planes = out.par_chunks_exact_mut(to_plane.max(1)).zip(array.values.par_chunks_exact(plane.max(1)));
        planes.for_each(|(to, from)| how.forward(from, width, to));
        Ok(self.push(Arc::new(out), &[batch, channels, to_height, to_width], &[array.node], &[], || {
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                let mut to = Buffer::new(array.values.len());
                let planes = to.par_chunks_exact_mut(plane.max(1)).zip(grad.par_chunks_exact(to_plane.max(1)));
                planes.for_each(|(to, grad)| how.backward(grad, width, to));
                gradients.add(array.node, to);
                Ok(())
            })
        }))
    }
}

impl Resample {
    /// One plane, of lines of `width`.
    fn forward(self, from: &[f32], width: usize, to: &mut [f32]) {
        match self {
            Self::Nearest => {
                for (to, line) in to.chunks_exact_mut(4 * width).zip(from.chunks_exact(width)) {
                    let (upper, lower) = to.split_at_mut(2 * width);
                    for (block, value) in upper.chunks_exact_mut(2).zip(line) {
                        block.fill(*value);
                    }
                    lower.copy_from_slice(upper);
                }
            }
            Self::Mean => {
                for (to, lines) in to.chunks_exact_mut(width / 2).zip(from.chunks_exact(2 * width)) {
                    let (upper, lower) = lines.split_at(width);
                    let blocks = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                    for (to, (upper, lower)) in to.iter_mut().zip(blocks) {
                        *to = 0.25 * ((upper[0] + upper[1]) + (lower[0] + lower[1]));
                    }
                }
            }
            Self::Even | Self::Odd => {
                let first = usize::from(self == Self::Odd);
                for (to, lines) in to.chunks_exact_mut(width / 2).zip(from.chunks_exact(2 * width)) {
                    let line = &lines[first * width..(first + 1) * width];
                    to.iter_mut().zip(line.chunks_exact(2)).for_each(|(to, block)| *to = block[first]);
                }
            }
        }
    }

    /// The gradient of a plane of lines of `width`.
    fn backward(self, grad: &[f32], width: usize, to: &mut [f32]) {
        match self {
            Self::Nearest => {
                Self::Mean.forward(grad, 2 * width, to);
                to.iter_mut().for_each(|to| *to *= 4.0);
            }
            Self::Mean => {
                Self::Nearest.forward(grad, width / 2, to);
                to.iter_mut().for_each(|to| *to *= 0.25);
            }
            Self::Even | Self::Odd => {
                let first = usize::from(self == Self::Odd);
                to.fill(0.0);
                for (lines, grad) in to.chunks_exact_mut(2 * width).zip(grad.chunks_exact(width / 2)) {
                    let line = &mut lines[first * width..(first + 1) * width];
                    line.chunks_exact_mut(2).zip(grad).for_each(|(block, grad)| block[first] = *grad);
                }
            }
        }
    }
}
