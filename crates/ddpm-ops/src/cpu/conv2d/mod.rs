//! Which kernel convolves, and its weights and sums, whichever it is.

mod amx;
mod channel_block;
mod gemm;
mod padded_planes;
mod pointwise;
mod winograd;
mod winograd_transform;

use crate::cpu::amx as amx_unit;
use crate::cpu::buffer::Buffer;
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};

/// The kernels: one for machines with the matrix unit, three for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Tiles,
    Winograd,
    Pointwise,
    Matrix,
}

impl Kernel {
    /// The fastest for these shapes and that many images.
    pub(crate) fn choose(geometry: &Geometry, images: usize) -> Self {
        if amx_unit::available() {
            Self::Tiles
        } else if winograd::takes(geometry, images) {
            Self::Winograd
        } else if pointwise::takes(geometry) {
            Self::Pointwise
        } else {
            Self::Matrix
        }
    }

    /// How many images are computed together, of `images` divided over `threads`.
    pub(crate) fn images_together(self, geometry: &Geometry, images: usize, threads: usize) -> usize {
        match self {
            Self::Tiles | Self::Matrix => amx::images_together(geometry, images, threads),
            Self::Winograd => winograd::images_together(geometry).min(images).max(1),
            Self::Pointwise => pointwise::images_together(geometry).min(images).max(1),
        }
    }
}

/// The weights in the form that a kernel wants.
#[derive(Debug)]
pub(crate) enum Weights<'a> {
    Tiles(amx::PackedWeights),
    Winograd(winograd::Weights),
    Pointwise(pointwise::Weights),
    Matrix(std::borrow::Cow<'a, [f32]>),
}

impl<'a> Weights<'a> {
    pub(crate) fn new(kernel: Kernel, geometry: &Geometry, weight: &'a [f32]) -> Self {
        Weights::packed(kernel, geometry, weight).unwrap_or(Self::Matrix(weight.into()))
    }

    /// Those of a kernel that does not read them as they are.
    pub(crate) fn packed(kernel: Kernel, geometry: &Geometry, weight: &[f32]) -> Option<Weights<'static>> {
        Some(match kernel {
            Kernel::Tiles => Weights::Tiles(amx::PackedWeights::new(geometry, weight)),
            Kernel::Winograd => Weights::Winograd(winograd::Weights::new(geometry, weight)),
            Kernel::Pointwise => Weights::Pointwise(pointwise::Weights::new(geometry, weight)),
            Kernel::Matrix => return None,
        })
    }

    /// Memory that they take.
    pub(crate) fn bytes(&self) -> usize {
        4 * match self {
            Self::Tiles(weights) => weights.words(),
            Self::Winograd(weights) => weights.values(),
            Self::Pointwise(weights) => weights.values(),
            Self::Matrix(weights) => weights.len(),
        }
    }

    pub(crate) fn transposed(kernel: Kernel, geometry: &Geometry, weight: &[f32]) -> Self {
        match kernel {
            Kernel::Tiles => Self::Tiles(amx::PackedWeights::transposed(geometry, weight)),
            Kernel::Winograd => Self::Winograd(winograd::Weights::transposed(geometry, weight)),
            Kernel::Pointwise => Self::Pointwise(pointwise::Weights::transposed(geometry, weight)),
            Kernel::Matrix => Self::Matrix(gemm::transposed(geometry, weight).into()),
        }
    }

    pub(crate) fn apply(
        &self,
        geometry: &Geometry,
        images: usize,
        input: &Input<'_>,
        bias: Option<&[f32]>,
        out: &mut Output<'_>,
        threads: usize,
    ) {
        match self {
            Self::Tiles(weights) => amx::forward(geometry, weights, images, input, bias, out),
            Self::Winograd(weights) => winograd::forward(geometry, weights, images, input, bias, out, threads),
            Self::Pointwise(weights) => pointwise::forward(geometry, weights, images, input, bias, out, threads),
            Self::Matrix(weights) => gemm::forward(geometry, weights, images, input, bias, out, threads),
        }
    }
}

/// The gradients of weight and bias as a kernel sums them.
pub(crate) enum WeightGradient {
    Tiles(amx::WeightGradient),
    Winograd(winograd::WeightGradient),
    Pointwise(pointwise::WeightGradient),
    Matrix(gemm::WeightGradient),
}

impl WeightGradient {
    pub(crate) fn new(kernel: Kernel, geometry: Geometry) -> Self {
        match kernel {
            Kernel::Tiles => Self::Tiles(amx::WeightGradient::new(geometry)),
            Kernel::Winograd => Self::Winograd(winograd::WeightGradient::new(geometry)),
            Kernel::Pointwise => Self::Pointwise(pointwise::WeightGradient::new(geometry)),
            Kernel::Matrix => Self::Matrix(gemm::WeightGradient::new(geometry)),
        }
    }

    pub(crate) fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        match self {
            Self::Tiles(sums) => sums.add(images, input, grad),
            Self::Winograd(sums) => sums.add(images, input, grad, threads),
            Self::Pointwise(sums) => sums.add(images, input, grad, threads),
            Self::Matrix(sums) => sums.add(images, input, grad, threads),
        }
    }

    /// The gradients, from the sums of all threads, which are of one kernel.
    pub(crate) fn finish(geometry: &Geometry, all: Vec<Self>) -> (Buffer, Buffer) {
        let (mut tiles, mut winograd, mut pointwise, mut matrices) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for sums in all {
            match sums {
                Self::Tiles(sums) => tiles.push(sums),
                Self::Winograd(sums) => winograd.push(sums),
                Self::Pointwise(sums) => pointwise.push(sums),
                Self::Matrix(sums) => matrices.push(sums),
            }
        }
        if !tiles.is_empty() {
            amx::WeightGradient::finish(geometry, &tiles)
        } else if !winograd.is_empty() {
            winograd::WeightGradient::finish(geometry, &winograd)
        } else if !pointwise.is_empty() {
            pointwise::WeightGradient::finish(geometry, &pointwise)
        } else {
            gemm::WeightGradient::finish(matrices)
        }
    }
}
