//! Conversion between gray, RGB and RGBA images.

use crate::color::Color;
use crate::image::Image;

/// Converts an image to the given number of channels: 1, 3 or 4. Transparent pixels are composited over `background`.
pub(crate) fn with_channels(image: &Image, channels: usize, background: Color) -> Image {
    if image.channels == channels {
        return image.clone();
    }
    let rgba = |pixel: &[u8]| match *pixel {
        [v] => [v, v, v, 255],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, a] => [r, g, b, a],
        _ => [0; 4],
    };
    let over = |v: u8, back: u8, a: u8| {
        ((u32::from(v) * u32::from(a) + u32::from(back) * (255 - u32::from(a)) + 127) / 255) as u8
    };
    let [back_r, back_g, back_b] = background.0;
    let mut samples = Vec::with_capacity(image.width * image.height * channels);
    for pixel in image.samples.chunks_exact(image.channels) {
        let [r, g, b, a] = rgba(pixel);
        if channels == 4 {
            samples.extend([r, g, b, a]);
            continue;
        }
        let rgb = [over(r, back_r, a), over(g, back_g, a), over(b, back_b, a)];
        if channels == 3 {
            samples.extend(rgb);
        } else {
            samples.push(luma(rgb));
        }
    }
    Image { channels, samples, ..*image }
}

/// The gray value of a color: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601). The 16-bit weights add up to 1, so white
/// stays 255.
pub(crate) fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 32768) >> 16) as u8
}
