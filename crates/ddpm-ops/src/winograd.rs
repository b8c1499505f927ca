//! Convolution by 3 × 3 kernels in the transformed domain of Winograd: 36 products where there are 144 multiplications.
//!
//! Tiles of 4 × 4 outputs come from windows of 6 × 6 inputs; transformed, a convolution is one matrix product over the channels
//! for each of 36 points. What is transformed lies in squares of 16 channels by 16 tiles, in the order in which the products
//! read it. The gradient of the input is the convolution with the kernel turned by 180°. That of the weights is, at each point,
//! the product of the transformed input with the transformed gradient over all tiles.

pub(crate) mod product;
pub(crate) mod tiles;
pub(crate) mod transforms;
