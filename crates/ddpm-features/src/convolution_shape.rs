//! The geometry of a convolution and what follows it.

use crate::blocked::Padding;

/// The function that follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    None,
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
}

/// How many zeros surround the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PaddingRule {
    /// So many rows above and below, and so many columns on the left and on the right.
    Fixed(usize, usize),
    /// TensorFlow's `SAME`: ⌈size / stride⌉ output pixels. Of an odd number of zeros, the larger half is below and on
    /// the right.
    Same,
}

/// The geometry of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvolutionShape {
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// Height and width of the kernel.
    pub(crate) kernel: (usize, usize),
    pub(crate) stride: usize,
    pub(crate) padding: PaddingRule,
    /// Whether each channel has its own kernel.
    pub(crate) depthwise: bool,
    pub(crate) activation: Activation,
}

impl ConvolutionShape {
    /// Whether the input is an image of colors.
    pub(crate) fn is_first(&self) -> bool {
        self.channels_in == 3
    }

    /// Whether every output pixel depends on the input pixel at the same place alone.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && !self.depthwise
    }

    /// The zeros around an image of this size.
    pub(crate) fn padding(&self, height: usize, width: usize) -> Padding {
        match self.padding {
            PaddingRule::Fixed(y, x) => Padding { top: y, bottom: y, left: x, right: x },
            PaddingRule::Same => {
                let total = |size: usize, kernel: usize| {
                    ((size.div_ceil(self.stride).max(1) - 1) * self.stride + kernel).saturating_sub(size)
                };
                let (y, x) = (total(height, self.kernel.0), total(width, self.kernel.1));
                Padding { top: y / 2, bottom: y - y / 2, left: x / 2, right: x - x / 2 }
            }
        }
    }

    /// Height and width of the result for an image of this size. 0 where the kernel is larger than the image.
    pub(crate) fn output_size(&self, height: usize, width: usize) -> (usize, usize) {
        let (padded_height, padded_width) = self.padding(height, width).padded(height, width);
        let size = |size: usize, kernel: usize| (size + self.stride).saturating_sub(kernel) / self.stride;
        (size(padded_height, self.kernel.0), size(padded_width, self.kernel.1))
    }

    /// The shape of the weights.
    pub(crate) fn weight_shape(&self) -> [usize; 4] {
        let channels_in = if self.depthwise { 1 } else { self.channels_in };
        [self.channels_out, channels_in, self.kernel.0, self.kernel.1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_padding_puts_the_larger_half_behind() {
        let shape = |kernel, stride| ConvolutionShape {
            channels_in: 8,
            channels_out: 8,
            kernel: (kernel, kernel),
            stride,
            padding: PaddingRule::Same,
            depthwise: false,
            activation: Activation::None,
        };
        let stem = shape(3, 2);
        assert_eq!(stem.padding(224, 224), Padding { top: 0, bottom: 1, left: 0, right: 1 });
        assert_eq!(stem.output_size(224, 224), (112, 112));
        assert_eq!(shape(5, 2).padding(56, 7), Padding { top: 1, bottom: 2, left: 2, right: 2 });
        assert_eq!(shape(5, 2).output_size(56, 7), (28, 4));
        assert_eq!(shape(5, 1).padding(14, 14), Padding { top: 2, bottom: 2, left: 2, right: 2 });
        assert_eq!(shape(1, 1).padding(14, 14), Padding::default());
    }
}
