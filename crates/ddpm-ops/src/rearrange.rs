//! Operations that move values and compute none: skip concatenation, nearest upsampling, pixel unshuffle.

use candle_core::{Result, Tensor, bail};

/// `a` and `b` side by side along the channel axis.
///
/// # Shapes
/// `a` [batch, channel_a, height, width], `b` [batch, channel_b, height, width]; the result has channel_a + channel_b.
///
/// # Errors
/// When batch, height or width differ.
pub fn concat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Tensor::cat(&[a, b], 1)
}

/// Every pixel as a 2 × 2 block of itself.
///
/// # Shapes
/// [batch, channel, height, width] to [batch, channel, 2 height, 2 width].
///
/// # Errors
/// When `x` does not have four axes.
pub fn upsample_nearest_2x(x: &Tensor) -> Result<Tensor> {
    // By broadcasting: candle's own upsampling overwrites gradients that were accumulated before it.
    let (batch, channels, height, width) = x.dims4()?;
    x.reshape((batch, channels, height, 1, width, 1))?.broadcast_as((batch, channels, height, 2, width, 2))?.reshape((
        batch,
        channels,
        2 * height,
        2 * width,
    ))
}

/// Every 2 × 2 block of pixels as four channels: channel 4c + 2i + j of the result is channel c at row i, column j of the
/// block. In einops' words "b c (h p1) (w p2) -> b (c p1 p2) h w".
///
/// # Shapes
/// [batch, channel, height, width] to [batch, 4 channel, height / 2, width / 2].
///
/// # Errors
/// When height or width is odd.
pub fn pixel_unshuffle_2x(x: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    if height % 2 != 0 || width % 2 != 0 {
        bail!("pixel_unshuffle_2x: expected an even height and width, found {height}×{width}");
    }
    x.reshape((batch, channels, height / 2, 2, width / 2, 2))?.permute((0, 1, 3, 5, 2, 4))?.reshape((
        batch,
        4 * channels,
        height / 2,
        width / 2,
    ))
}
