//! Which kernel convolves, and its weights and sums, whichever it is.

use crate::buffer::Buffer;
use crate::geometry::Geometry;
use crate::planes::{Input, Output};
use crate::{amx, conv2d_amx, conv2d_gemm, conv2d_pointwise, conv2d_winograd};

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
        if amx::available() {
            Self::Tiles
        } else if conv2d_winograd::takes(geometry, images) {
            Self::Winograd
        } else if conv2d_pointwise::takes(geometry) {
            Self::Pointwise
        } else {
            Self::Matrix
        }
    }

    /// How many images are computed together, of `images` divided over `threads`.
    pub(crate) fn images_together(self, geometry: &Geometry, images: usize, threads: usize) -> usize {
        match self {
            Self::Tiles | Self::Matrix => conv2d_amx::images_together(geometry, images, threads),
            Self::Winograd => conv2d_winograd::images_together(geometry).min(images).max(1),
            Self::Pointwise => conv2d_pointwise::images_together(geometry).min(images).max(1),
        }
    }
}

/// The weights in the form that a kernel wants.
#[derive(Debug)]
pub(crate) enum Weights<'a> {
    Tiles(conv2d_amx::PackedWeights),
    Winograd(conv2d_winograd::Weights),
    Pointwise(conv2d_pointwise::Weights),
    Matrix(std::borrow::Cow<'a, [f32]>),
}

impl<'a> Weights<'a> {
    pub(crate) fn new(kernel: Kernel, geometry: &Geometry, weight: &'a [f32]) -> Self {
        Weights::packed(kernel, geometry, weight).unwrap_or(Self::Matrix(weight.into()))
    }

    /// Those of a kernel that does not read them as they are.
    pub(crate) fn packed(kernel: Kernel, geometry: &Geometry, weight: &[f32]) -> Option<Weights<'static>> {
        Some(match kernel {
            Kernel::Tiles => Weights::Tiles(conv2d_amx::PackedWeights::new(geometry, weight)),
            Kernel::Winograd => Weights::Winograd(conv2d_winograd::Weights::new(geometry, weight)),
            Kernel::Pointwise => Weights::Pointwise(conv2d_pointwise::Weights::new(geometry, weight)),
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
            Kernel::Tiles => Self::Tiles(conv2d_amx::PackedWeights::transposed(geometry, weight)),
            Kernel::Winograd => Self::Winograd(conv2d_winograd::Weights::transposed(geometry, weight)),
            Kernel::Pointwise => Self::Pointwise(conv2d_pointwise::Weights::transposed(geometry, weight)),
            Kernel::Matrix => Self::Matrix(conv2d_gemm::transposed(geometry, weight).into()),
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
            Self::Tiles(weights) => conv2d_amx::forward(geometry, weights, images, input, bias, out),
            Self::Winograd(weights) => conv2d_winograd::forward(geometry, weights, images, input, bias, out, threads),
            Self::Pointwise(weights) => conv2d_pointwise::forward(geometry, weights, images, input, bias, out, threads),
            Self::Matrix(weights) => conv2d_gemm::forward(geometry, weights, images, input, bias, out, threads),
        }
    }
}

/// The gradients of weight and bias as a kernel sums them.
pub(crate) enum WeightGradient {
    Tiles(conv2d_amx::WeightGradient),
    Winograd(conv2d_winograd::WeightGradient),
    Pointwise(conv2d_pointwise::WeightGradient),
    Matrix(conv2d_gemm::WeightGradient),
}

impl WeightGradient {
    pub(crate) fn new(kernel: Kernel, geometry: Geometry) -> Self {
        match kernel {
            Kernel::Tiles => Self::Tiles(conv2d_amx::WeightGradient::new(geometry)),
            Kernel::Winograd => Self::Winograd(conv2d_winograd::WeightGradient::new(geometry)),
            Kernel::Pointwise => Self::Pointwise(conv2d_pointwise::WeightGradient::new(geometry)),
            Kernel::Matrix => Self::Matrix(conv2d_gemm::WeightGradient::new(geometry)),
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
            conv2d_amx::WeightGradient::finish(geometry, &tiles)
        } else if !winograd.is_empty() {
            conv2d_winograd::WeightGradient::finish(geometry, &winograd)
        } else if !pointwise.is_empty() {
            conv2d_pointwise::WeightGradient::finish(geometry, &pointwise)
        } else {
            conv2d_gemm::WeightGradient::finish(matrices)
        }
    }
}
