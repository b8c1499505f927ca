//! The CPU backend: its operations, and the kernels, memory and threads that they use.

pub(crate) mod amx;
pub(crate) mod backend;
pub(crate) mod buffer;
pub(crate) mod conv2d;
pub(crate) mod exp;
pub(crate) mod gemm;
pub(crate) mod geometry;
pub(crate) mod gradient;
pub(crate) mod group_norm;
pub(crate) mod kernel_names;
pub(crate) mod micro_kernel;
mod ops;
pub(crate) mod planes;
pub(crate) mod reduce;
pub(crate) mod scratch;
pub(crate) mod slice_update;
pub(crate) mod tensor_slice;
pub(crate) mod transpose_16x16;
pub(crate) mod transpose_8x8;
pub(crate) mod vectorize;
pub(crate) mod weight_cache;
pub(crate) mod work_division;
