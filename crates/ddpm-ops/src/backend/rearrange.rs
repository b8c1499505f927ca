//! How the planes of a convolution's input are rearranged.

/// How the planes of a convolution's input come from the tensors they are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rearrange {
    /// As they are.
    #[default]
    AsIs,
    /// Every pixel as a 2 × 2 block of itself: height and width double.
    UpsampleNearest2x,
    /// Every 2 × 2 block of pixels as four channels, channel 4c + 2i + j from row i, column j of the block: height and width
    /// halve. In einops' words "b c (h p1) (w p2) -> b (c p1 p2) h w".
    PixelUnshuffle2x,
}

impl Rearrange {
    /// Channels, height and width after, from those before.
    pub(crate) fn shape(self, (channels, height, width): (usize, usize, usize)) -> (usize, usize, usize) {
        match self {
            Self::AsIs => (channels, height, width),
            Self::UpsampleNearest2x => (channels, 2 * height, 2 * width),
            Self::PixelUnshuffle2x => (4 * channels, height / 2, width / 2),
        }
    }
}
