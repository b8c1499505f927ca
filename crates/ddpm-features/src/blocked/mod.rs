//! Convolutional networks on the CPU: one image at a time, with the channels in blocks of sixteen.
//!
//! An image is [channel block][row][column][16 channels], so every operation works on vectors of channels and needs no
//! rearrangement: a depthwise convolution multiplies vectors element by element, and a full convolution broadcasts the
//! values of a pixel. Batch normalization is part of the weights, and activation and residual part of the convolution.
//! Threads take images, so that the data between two layers stay in the cache of one core.
//!
//! The kernels are plain Rust on the vectors of `pulp`, which selects AVX-512, AVX2, NEON or plain code at run time.

mod block;
mod convolution;
mod depthwise;
mod image;
mod inverted_residual;
mod patches;
mod pooling;
mod register_tile;
mod row_product;

pub(crate) use convolution::BlockedConvolution;
pub(crate) use depthwise::BlockedDepthwise;
pub(crate) use image::{BlockedImage, Padding, PlanarImage, for_each_image};
pub(crate) use inverted_residual::inverted_residual;
pub(crate) use pooling::{average_pool_3x3, max_pool_3x3, spatial_mean};
