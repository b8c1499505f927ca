//! Conversion between gray, RGB and RGBA images.

use crate::image::Image;

/// Converts an image to the given number of channels: 1, 3 or 4.
pub(crate) fn with_channels(image: &Image, channels: usize) -> Image {
    if image.channels == channels {
        return image.clone();
    }
    let rgba = |pixel: &[u8]| match *pixel {
        [v] => [v, v, v, 255],
        [r, g, b] => [r, g, b, 255],
        [r, g, b, a] => [r, g, b, a],
        _ => [0; 4],
    };
    let over_white = |v: u8, a: u8| ((u32::from(v) * u32::from(a) + 255 * (255 - u32::from(a)) + 127) / 255) as u8;
    let mut samples = Vec::with_capacity(image.width * image.height * channels);
    for pixel in image.samples.chunks_exact(image.channels) {
        let [r, g, b, a] = rgba(pixel);
        if channels == 4 {
            samples.extend([r, g, b, a]);
            continue;
        }
        let [r, g, b] = [r, g, b].map(|v| over_white(v, a));
        if channels == 3 {
            samples.extend([r, g, b]);
        } else {
            // The 16-bit weights add up to 1, so white stays 255.
            let luma = (u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 32768) >> 16;
            samples.push(luma as u8);
        }
    }
    Image { channels, samples, ..*image }
}
