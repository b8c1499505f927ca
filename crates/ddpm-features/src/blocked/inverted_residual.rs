//! The inverted residual block of MobileNet v2 (Sandler et al. 2018): expand, depthwise convolution, project.

use crate::blocked::block::LANES;
use crate::blocked::convolution::BlockedConvolution;
use crate::blocked::depthwise::BlockedDepthwise;
use crate::blocked::image::BlockedImage;

/// Projects the depthwise convolution of the expanded image, and adds the image itself if `residual`.
///
/// The expanded image has six times the channels and is never stored: sixteen of its channels are computed with the
/// padding around them, and the depthwise convolution reads them while they are in the cache.
pub(crate) fn inverted_residual(
    image: &BlockedImage,
    expand: &BlockedConvolution,
    depthwise: &BlockedDepthwise,
    project: &BlockedConvolution,
    residual: bool,
) -> BlockedImage {
    let shape = &depthwise.shape;
    let padding = shape.padding(image.height, image.width);
    let (height, width) = shape.output_size(image.height, image.width);
    let mut hidden = BlockedImage::zeros(shape.channels_out, height, width);
    let mut expanded = depthwise.padded_plane(image.height, image.width, &padding);
    let padded_width = image.width + padding.left + padding.right;
    for (block, out) in hidden.pixels.chunks_exact_mut(height * width).enumerate() {
        expand.pointwise_block(image, block, &padding, &mut expanded);
        depthwise.forward_block(block, &expanded, padded_width, out, width);
    }
    debug_assert_eq!(hidden.blocks(), shape.channels_out.div_ceil(LANES), "one pass for each channel block");
    project.forward(&hidden, residual.then_some(image))
}
