//! How the planes of a convolution's input are rearranged.

use candle_core::{Result, bail};

/// How the planes that a convolution reads come from the planes of its input tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rearrange {
    /// The planes are not rearranged.
    #[default]
    AsIs,
    /// Nearest-neighbor upsampling: every pixel becomes a 2 × 2 block, and height and width double.
    UpsampleNearest2x,
    /// Pixel unshuffle: every 2 × 2 block of pixels becomes four channels, and height and width halve. Channel
    /// 4c + 2i + j holds row i, column j of the blocks of channel c. In einops notation:
    /// "b c (h p1) (w p2) -> b (c p1 p2) h w".
    PixelUnshuffle2x,
}

impl Rearrange {
    /// Channels, height and width afterwards, given those before.
    pub(crate) fn shape(self, (channels, height, width): (usize, usize, usize)) -> (usize, usize, usize) {
        match self {
            Self::AsIs => (channels, height, width),
            Self::UpsampleNearest2x => (channels, 2 * height, 2 * width),
            Self::PixelUnshuffle2x => (4 * channels, height / 2, width / 2),
        }
    }

    /// Checks that images of this height and width can be rearranged.
    pub(crate) fn check(self, height: usize, width: usize) -> Result<()> {
        if self == Self::PixelUnshuffle2x && !(height.is_multiple_of(2) && width.is_multiple_of(2)) {
            bail!("pixel unshuffle: expected an even height and width, found {height}×{width}");
        }
        Ok(())
    }
}
