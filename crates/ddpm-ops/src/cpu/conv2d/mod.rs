//! Convolution kernels: the list of them and the rule that selects one.
//!
//! A kernel is a type without state that implements [`ConvKernel`], in a file named after it. To add one, write that
//! file, declare it below, and add the type to [`KERNELS`].

mod amx;
mod blocked_layout;
mod conv_kernel;
mod im2col;
mod padded_planes;
mod pointwise;
mod winograd;

use self::amx::Amx;
pub(crate) use self::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use self::im2col::Im2col;
use self::pointwise::Pointwise;
use self::winograd::Winograd;
use crate::cpu::geometry::Geometry;

/// All kernels, the fastest first. The last one supports every geometry.
static KERNELS: [&dyn ConvKernel; 4] = [&Amx, &Winograd, &Pointwise, &Im2col];

/// The kernel for this geometry and number of images: the first of [`KERNELS`] that supports them.
pub(crate) fn select(geometry: &Geometry, images: usize) -> &'static dyn ConvKernel {
    *KERNELS.iter().find(|kernel| kernel.supports(geometry, images)).unwrap_or(&KERNELS[KERNELS.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_names_differ_and_the_last_kernel_supports_every_geometry() {
        for (i, kernel) in KERNELS.iter().enumerate() {
            assert!(KERNELS[..i].iter().all(|other| other.name() != kernel.name()), "{}", kernel.name());
        }
        for kernel in [1, 3, 5, 7] {
            let geometry = Geometry { channels_in: 1, channels_out: 1, height: 1, width: 1, kernel };
            assert!(KERNELS.last().is_some_and(|last| last.supports(&geometry, 1)));
        }
    }
}
