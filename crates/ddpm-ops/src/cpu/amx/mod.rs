//! Matrix products on AMX, the matrix unit of Intel's server processors since 2023.
//!
//! One core multiplies tiles of bf16, with sums in f32, about thirty times as fast as its vector units multiply f32.
//! Three bf16 hold every bit of an f32, two all but the last seven. A product of f32 numbers is therefore computed as a
//! sum of products of their parts (compare "bf16x3" in oneMKL, and Henry et al. 2019):
//!
//! * Three parts, six products: those of the orders 0·0, 0·1, 1·0, 1·1, 0·2 and 2·0. The other products are below
//!   2⁻²⁶ of the result, so the error is that of f32 arithmetic.
//! * Two parts, three products. The error is a few 1e-6 of the result. This serves sums that nothing else is computed
//!   from, such as the gradient of a weight.
//!
//! `bf16_parts` splits numbers into parts and arranges them for the tiles, `operands` describes where the tiles are in
//! memory, and `tile_unit` multiplies them: with the instructions of the processor, or in plain code for tests on other
//! machines.
//!
//! Rust has no stable intrinsics for AMX, so `instructions` contains assembly. [`TileUnit::multiply`] is nevertheless
//! safe to call, because it checks that every byte that the tiles touch lies within the slices it is given.

pub(crate) mod bf16_parts;
mod emulated;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod instructions;
mod operands;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod permission;
mod tile_unit;

pub(crate) use self::operands::{BLOCK, DEPTH, Factor, Initial, OutputBlock, StepOffsets, TILE};
pub(crate) use self::tile_unit::{TileUnit, available};
