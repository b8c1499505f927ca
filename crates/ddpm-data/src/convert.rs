//! From an image of any size and channels to the network's.

use image::imageops::{FilterType, resize};
use image::{GrayImage, ImageBuffer, RgbImage, RgbaImage};

use crate::{Fit, Image};

/// What every image is converted to. Channels before sizes; an image that has both already stays as it is, bit for
/// bit.
///
/// - RGB to grey: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as Pillow's "L"). Grey to RGB: the value three times.
/// - Alpha to none: over white. None to alpha: opaque.
/// - Sizes: Catmull-Rom, whose support grows with the shrinking factor, so that shrinking does not alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// 1, 3 or 4.
    pub channels: usize,
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
    /// How another size meets this one.
    pub fit: Fit,
}

impl Conversion {
    /// The image, converted. `place` is where [`Fit::Crop`] cuts: 0 left or top, 0.5 the centre, 1 right or bottom.
    pub fn apply(&self, image: &Image, place: (f64, f64)) -> Image {
        let (width, height) = (self.width, self.height);
        if (image.width, image.height) == (width, height) {
            return with_channels(image, self.channels);
        }
        match self.fit {
            Fit::Stretch => resized(&with_channels(image, self.channels), width, height),
            Fit::Crop => self.crop(image, place),
            Fit::Pad => {
                let image = with_channels(image, self.channels);
                let scale = (width as f64 / image.width as f64).min(height as f64 / image.height as f64).min(1.0);
                let inside = scaled(&image, scale, |side, most| side.clamp(1, most), (width, height));
                let mut canvas = Image::black(width, height, self.channels);
                canvas.paste(&inside, (width - inside.width) / 2, (height - inside.height) / 2);
                canvas
            }
        }
    }

    /// The pixels that are needed are cut out before they are scaled: a long strip, scaled whole, would fill the memory.
    fn crop(&self, image: &Image, place: (f64, f64)) -> Image {
        let (width, height) = (self.width, self.height);
        let scale = (width as f64 / image.width as f64).max(height as f64 / image.height as f64);
        // Along one axis: where the target begins in the image, then the whole pixels that it touches.
        let touched = |side: usize, target: usize, place: f64| {
            let needed = (target as f64 / scale).min(side as f64);
            let start = (side as f64 - needed) * place;
            let first = (start.floor() as usize).min(side - 1);
            (start, first, ((start + needed).ceil() as usize).clamp(first + 1, side))
        };
        let (left, x, right) = touched(image.width, width, place.0);
        let (top, y, bottom) = touched(image.height, height, place.1);
        let part = with_channels(&image.part(x, y, right - x, bottom - y), self.channels);
        let covering = scaled(&part, scale, |side, least| side.max(least), (width, height));
        let offset = |start: f64, first: usize, larger: usize, size: usize| {
            (((start - first as f64) * scale).round() as usize).min(larger - size)
        };
        let x = offset(left, x, covering.width, width);
        let y = offset(top, y, covering.height, height);
        covering.part(x, y, width, height)
    }
}

/// Scaled by a factor, each side then bounded by that of the target: rounding must not leave it a pixel short or long.
fn scaled(image: &Image, scale: f64, bound: impl Fn(usize, usize) -> usize, target: (usize, usize)) -> Image {
    let side = |side: usize, target| bound((side as f64 * scale).round() as usize, target);
    resized(image, side(image.width, target.0), side(image.height, target.1))
}

fn resized(image: &Image, width: usize, height: usize) -> Image {
    if (image.width, image.height) == (width, height) {
        return image.clone();
    }
    let from = (image.width as u32, image.height as u32, image.samples.clone());
    let to = (width as u32, height as u32, FilterType::CatmullRom);
    let missing = "the samples of an image fill its size";
    let samples = match image.channels {
        1 => resize(&GrayImage::from_raw(from.0, from.1, from.2).expect(missing), to.0, to.1, to.2).into_raw(),
        3 => resize(&RgbImage::from_raw(from.0, from.1, from.2).expect(missing), to.0, to.1, to.2).into_raw(),
        _ => resize_rgba(&RgbaImage::from_raw(from.0, from.1, from.2).expect(missing), to),
    };
    Image { width, height, channels: image.channels, samples }
}

/// Resizes with colours weighted by their alpha: what is invisible must not bleed into what is visible.
fn resize_rgba(image: &RgbaImage, (width, height, filter): (u32, u32, FilterType)) -> Vec<u8> {
    let mut weighted: ImageBuffer<image::Rgba<f32>, Vec<f32>> = ImageBuffer::new(image.width(), image.height());
    for (to, from) in weighted.pixels_mut().zip(image.pixels()) {
        let [r, g, b, a] = from.0.map(|v| f32::from(v) / 255.0);
        to.0 = [r * a, g * a, b * a, a];
    }
    let resized = resize(&weighted, width, height, filter);
    let back = |pixel: &image::Rgba<f32>| {
        let [r, g, b, a] = pixel.0;
        let alpha = a.clamp(0.0, 1.0);
        let colour = |v: f32| if alpha > 0.0 { (v / alpha).clamp(0.0, 1.0) } else { 0.0 };
        [colour(r), colour(g), colour(b), alpha].map(|v| (v * 255.0 + 0.5) as u8)
    };
    resized.pixels().flat_map(back).collect()
}

/// The image with that many channels.
fn with_channels(image: &Image, channels: usize) -> Image {
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
            // 16-bit weights that add up to 1: white stays 255.
            let luma = (u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 32768) >> 16;
            samples.push(luma as u8);
        }
    }
    Image { channels, samples, ..*image }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: usize, height: usize, channels: usize, samples: &[u8]) -> Image {
        Image { width, height, channels, samples: samples.to_vec() }
    }

    fn convert(image: &Image, channels: usize, size: (usize, usize), fit: Fit) -> Image {
        Conversion { channels, height: size.1, width: size.0, fit }.apply(image, (0.5, 0.5))
    }

    #[test]
    fn channels_follow_the_documented_rules() {
        let rgba = image(2, 1, 4, &[200, 100, 50, 255, 0, 0, 0, 0]);
        assert_eq!(convert(&rgba, 3, (2, 1), Fit::Crop).samples, [200, 100, 50, 255, 255, 255]);
        // 0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2
        assert_eq!(convert(&rgba, 1, (2, 1), Fit::Crop).samples, [124, 255]);
        let grey = image(1, 1, 1, &[7]);
        assert_eq!(convert(&grey, 3, (1, 1), Fit::Crop).samples, [7, 7, 7]);
        assert_eq!(convert(&grey, 4, (1, 1), Fit::Crop).samples, [7, 7, 7, 255]);
    }

    #[test]
    fn a_image_of_the_right_size_is_untouched() {
        let samples: Vec<u8> = (0..48).map(|i| i * 5).collect();
        let original = image(4, 4, 3, &samples);
        for fit in [Fit::Crop, Fit::Stretch, Fit::Pad] {
            assert_eq!(convert(&original, 3, (4, 4), fit), original);
        }
    }

    #[test]
    fn pad_centres_and_crop_cuts() {
        let small = image(2, 2, 1, &[9; 4]);
        let padded = convert(&small, 1, (4, 4), Fit::Pad);
        assert_eq!(padded.samples, [0, 0, 0, 0, 0, 9, 9, 0, 0, 9, 9, 0, 0, 0, 0, 0]);
        let wide = image(6, 2, 1, &[0, 0, 9, 9, 0, 0, 0, 0, 9, 9, 0, 0]);
        assert_eq!(convert(&wide, 1, (2, 2), Fit::Crop).samples, [9; 4]);
    }

    #[test]
    fn a_crop_is_where_it_is_asked_for() {
        // Column x of a wide image is x · 10.
        let row: Vec<u8> = (0..12).map(|x| x * 10).collect();
        let wide = image(12, 4, 1, &row.repeat(4));
        let crop = |place| Conversion { channels: 1, height: 4, width: 4, fit: Fit::Crop }.apply(&wide, (place, 0.0));
        assert_eq!(crop(0.0).samples, [0, 10, 20, 30].repeat(4));
        assert_eq!(crop(0.5).samples, [40, 50, 60, 70].repeat(4));
        assert_eq!(crop(1.0).samples, [80, 90, 100, 110].repeat(4));
        // Twice as large: a quarter of a pixel beside the centre of each, but at the ends.
        let twice = Conversion { channels: 1, height: 8, width: 8, fit: Fit::Crop }.apply(&wide, (0.5, 0.5));
        let near = |(x, value): (usize, &u8)| (f64::from(*value) - (37.5 + 5.0 * x as f64)).abs() < 2.5;
        assert!(twice.samples[..8].iter().enumerate().all(near), "{:?}", &twice.samples[..8]);
    }

    #[test]
    fn a_strip_costs_no_more_than_its_crop() {
        // Scaled whole, it would be 256 × 8,388,608 pixels of four channels: 8.6 GB.
        let strip = image(1, 32_768, 4, &[200; 4 * 32_768]);
        for place in [0.0, 0.3, 1.0] {
            let out = Conversion { channels: 4, height: 256, width: 256, fit: Fit::Crop }.apply(&strip, (place, place));
            assert!(out.samples.iter().all(|v| *v == 200) && out.samples.len() == 4 * 256 * 256);
        }
    }

    #[test]
    fn odd_proportions_reach_the_very_size() {
        for (w, h) in [(1, 1), (1, 500), (333, 7), (33, 31), (1000, 999)] {
            let grey = image(w, h, 1, &vec![128; w * h]);
            for fit in [Fit::Crop, Fit::Stretch, Fit::Pad] {
                let out = convert(&grey, 3, (32, 24), fit);
                assert_eq!((out.width, out.height, out.samples.len()), (32, 24, 32 * 24 * 3), "{w}×{h} {fit:?}");
                if fit != Fit::Pad {
                    assert!(out.samples.iter().all(|v| *v == 128), "{w}×{h} {fit:?}: flat stays flat");
                }
            }
        }
    }

    #[test]
    fn invisible_colours_do_not_bleed() {
        // Left half opaque red, right half transparent green.
        let row: Vec<u8> = (0..8).flat_map(|x| if x < 4 { [255, 0, 0, 255] } else { [0, 255, 0, 0] }).collect();
        let image = image(8, 8, 4, &row.repeat(8));
        let out = convert(&image, 4, (4, 4), Fit::Stretch);
        assert!(out.samples.chunks(4).all(|p| p[3] == 0 || p[1] == 0), "{:?}", out.samples);
    }
}
