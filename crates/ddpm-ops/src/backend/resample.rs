//! Ways to halve or double height and width.

/// A way to halve or double height and width without a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resample {
    /// Every second row and column, starting with the first. After a convolution at stride 1 this gives the convolution
    /// at stride 2 with the same padding on all sides.
    Even,
    /// Every second row and column, starting with the second. After a convolution with a 3 × 3 kernel at stride 1 this
    /// gives the convolution at stride 2 with padding at the bottom and on the right only.
    Odd,
    /// The mean of every 2 × 2 block of pixels.
    Mean,
    /// Nearest-neighbor upsampling: every pixel becomes a 2 × 2 block.
    Nearest,
}

impl Resample {
    /// Height and width of the result.
    pub(crate) fn size(self, height: usize, width: usize) -> (usize, usize) {
        match self {
            Self::Nearest => (2 * height, 2 * width),
            Self::Even | Self::Odd | Self::Mean => (height / 2, width / 2),
        }
    }
}
