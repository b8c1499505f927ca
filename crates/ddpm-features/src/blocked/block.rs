//! The unit of the layout: sixteen channels of a pixel.

use pulp::Simd;

/// The number of channels in a block.
pub(crate) const LANES: usize = 16;

/// Sixteen channels of a pixel: one vector of AVX-512, two of AVX2, four of NEON.
pub(crate) type Block = [f32; LANES];

/// The vectors of a block.
#[inline(always)]
pub(crate) fn vectors<S: Simd, const V: usize>(block: &Block) -> &[S::f32s; V] {
    S::as_simd_f32s(block).0.try_into().expect("V vectors have sixteen lanes together")
}

/// The vectors of a block, to be written.
#[inline(always)]
pub(crate) fn vectors_mut<S: Simd, const V: usize>(block: &mut Block) -> &mut [S::f32s; V] {
    S::as_mut_simd_f32s(block).0.try_into().expect("V vectors have sixteen lanes together")
}
