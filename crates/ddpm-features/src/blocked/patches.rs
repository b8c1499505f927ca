//! The patches of an image of three channels as pixels: the input of the first convolution of a network.

use crate::blocked::block::{Block, LANES};
use crate::blocked::image::PlanarImage;
use crate::convolution_shape::ConvolutionShape;

/// Writes the patches of one output row: value i of the patch of output pixel x is channel i % 16 of the pixel `out[i /
/// 16 · width + x]`, in the order [channel][row][column] of the kernel.
pub(crate) fn patch_row(shape: &ConvolutionShape, image: &PlanarImage, y: usize, width: usize, out: &mut [Block]) {
    let padding = shape.padding(image.height, image.width);
    let (kernel_height, kernel_width) = shape.kernel;
    let plane = image.height * image.width;
    for i in 0..shape.channels_in * kernel_height * kernel_width {
        let (channel, row, column) =
            (i / (kernel_height * kernel_width), i / kernel_width % kernel_height, i % kernel_width);
        let to = out[i / LANES * width..][..width].iter_mut().map(|block| &mut block[i % LANES]);
        let source_y = (y * shape.stride + row).checked_sub(padding.top).filter(|y| *y < image.height);
        let Some(source_y) = source_y else {
            to.for_each(|to| *to = 0.0);
            continue;
        };
        let from = &image.values[channel * plane + source_y * image.width..][..image.width];
        for (x, to) in to.enumerate() {
            let source_x = (x * shape.stride + column).checked_sub(padding.left);
            *to = source_x.and_then(|x| from.get(x)).copied().unwrap_or(0.0);
        }
    }
}
