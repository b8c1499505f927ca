//! The inputs of a convolution, and how its images are divided into calls of a kernel.

use std::ops::Range;

use candle_core::Result;

use crate::backend::conv2d::{Conv2dShape, FusedConv2d};
use crate::backend::rearrange::Rearrange;
use crate::cpu::backend::Array;
use crate::cpu::conv2d::{ConvKernel, select};
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Part};
use crate::tape::value::Value;

/// The inputs of a convolution that its gradient reads.
#[derive(Debug)]
pub(super) struct Conv2dInputs {
    pub(super) shape: Conv2dShape,
    pub(super) arrange: Rearrange,
    pub(super) input: Array,
    pub(super) skip: Option<Array>,
    pub(super) added: Option<Array>,
    pub(super) image_bias: Option<Array>,
}

impl Conv2dInputs {
    pub(super) fn of(op: &FusedConv2d<'_>, shape: &Conv2dShape) -> Result<Self> {
        let optional = |value: Option<&Value>| value.map(Array::of).transpose();
        Ok(Self {
            shape: *shape,
            arrange: op.arrange,
            input: Array::of(op.input)?,
            skip: optional(op.skip)?,
            added: optional(op.added)?,
            image_bias: optional(op.image_bias)?,
        })
    }

    /// The part of the shape that the kernel needs.
    pub(super) fn geometry(&self) -> Geometry {
        let Conv2dShape { channels_in, channels_out, height, width, kernel, .. } = self.shape;
        Geometry { channels_in, channels_out, height, width, kernel }
    }

    /// The planes that the kernel reads.
    pub(super) fn planes(&self) -> Input<'_> {
        let Conv2dShape { input_channels, skip_channels, input_height, input_width, .. } = self.shape;
        Input {
            first: Part { values: &self.input.values, channels: input_channels },
            second: self.skip.as_ref().map(|skip| Part { values: &skip.values, channels: skip_channels }),
            added: self.added.as_ref().map(|added| &added.values[..]),
            arrange: self.arrange,
            height: input_height,
            width: input_width,
            from: 0,
        }
    }

    /// How the images are divided into calls of a kernel.
    pub(super) fn division(&self) -> Division {
        let (images, geometry) = (self.shape.batch, self.geometry());
        let threads = rayon::current_num_threads();
        let kernel = select(&geometry, images);
        let images_together = kernel.images_together(&geometry, images, threads);
        // A kernel that divides its own work does so as soon as there are fewer calls than threads. The others do so
        // only if there are fewer images than threads, so that there is nothing else to divide.
        let calls = if kernel.divides_its_work() { images.div_ceil(images_together) } else { images };
        Division { kernel, images_together, threads: if calls < threads { threads } else { 1 } }
    }
}

/// How the images of a convolution are divided into calls of its kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    pub(super) kernel: &'static dyn ConvKernel,
    /// Images that one call computes.
    pub(super) images_together: usize,
    /// Threads of one call. With 1, calls run on several threads at once.
    pub(super) threads: usize,
}

impl Division {
    /// `images` in the ranges that one call each computes.
    pub(super) fn calls(&self, images: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, step) = (images.end, self.images_together);
        images.step_by(step).map(move |from| from..end.min(from + step))
    }
}

/// Takes the first `len` elements off a slice.
pub(super) fn split_off<'a, T>(rest: &mut &'a mut [T], len: usize) -> &'a mut [T] {
    let (first, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    first
}
