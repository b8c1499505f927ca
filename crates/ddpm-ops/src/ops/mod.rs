//! The operations of a [`tape::Tape`], one per file.
//!
//! Each checks its shapes and then calls the tape's backend. To add one, add a file here, a method of
//! [`Backend`](crate::backend::Backend), and its implementation in `cpu/ops` and `device/ops`.

mod activation;
mod add;
mod affine;
mod attention;
mod concat;
mod constant;
mod conv2d;
mod dropout;
mod embedding;
mod group_norm;
mod linear;
mod modulate;
mod recompute;
mod resample;
pub(crate) mod tape;
