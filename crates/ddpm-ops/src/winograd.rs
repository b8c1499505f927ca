//! Convolution by 3 × 3 kernels in the transformed domain of Winograd: 36 products where there are 144 multiplications.
//!
//! Tiles of 4 × 4 outputs come from windows of 6 × 6 inputs. Transformed, a convolution is one matrix product over the channels
//! for each of 36 points (`conv2d_squares.rs`).

pub(crate) mod tiles;
pub(crate) mod transforms;
