//! Conversion of images to the size and the number of channels of the network.

use crate::channels::{luma, with_channels};
use crate::color::Color;
use crate::fit::Fit;
use crate::image::Image;
use crate::resize::{resized, scaled};
use crate::resize_filter::ResizeFilter;

/// The format that every image is converted to. The channels are converted first, then the size. An image that has this
/// format already is not changed.
///
/// - RGB to gray: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as mode "L" of Pillow). Gray to RGB: the value is
///   repeated.
/// - Alpha is removed by compositing over `background`, in sRGB values as everyone does. A missing alpha channel
///   becomes opaque.
/// - Sizes: the pixels of an image are squares whose centers are at half-integers (`align_corners=False` in PyTorch).
///   Colors are weighted by their alpha.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// The number of channels: 1, 3 or 4.
    pub channels: usize,
    /// The height in pixels.
    pub height: usize,
    /// The width in pixels.
    pub width: usize,
    /// How images of another size are adapted.
    pub fit: Fit,
    /// The interpolation with which they are resized.
    pub filter: ResizeFilter,
    /// The color behind transparent pixels and beside an image that [`Fit::Pad`] centers. If absent, transparent pixels
    /// are composited over white, and the sides are black.
    pub background: Option<Color>,
}

impl Conversion {
    /// The length of the shorter side from which an image may be decoded at a reduced size: twice the longer side of
    /// the target, so that the interpolation still determines the result.
    pub fn sufficient_side(&self) -> usize {
        2 * self.width.max(self.height)
    }

    /// Converts an image. `position` is the position (horizontal, vertical) of the rectangle that [`Fit::Crop`] cuts
    /// out, each coordinate in [0, 1]: 0 is left or top, 0.5 is the center, 1 is right or bottom.
    pub fn apply(&self, image: &Image, position: (f64, f64)) -> Image {
        let (width, height) = (self.width, self.height);
        if (image.width, image.height) == (width, height) {
            return self.with_channels(image);
        }
        match self.fit {
            Fit::Stretch => resized(&self.with_channels(image), width, height, self.filter),
            Fit::Crop => self.crop(image, position),
            Fit::Pad => {
                let image = self.with_channels(image);
                let scale = (width as f64 / image.width as f64).min(height as f64 / image.height as f64).min(1.0);
                let scaled = scaled(&image, scale, |side, max| side.clamp(1, max), (width, height), self.filter);
                let mut canvas = self.canvas();
                canvas.paste(&scaled, (width - scaled.width) / 2, (height - scaled.height) / 2);
                canvas
            }
        }
    }

    fn with_channels(&self, image: &Image) -> Image {
        with_channels(image, self.channels, self.background.unwrap_or(Color::WHITE))
    }

    /// The background that [`Fit::Pad`] puts an image on. It is transparent if the network has an alpha channel, unless
    /// a color is configured.
    fn canvas(&self) -> Image {
        let Some(color) = self.background else { return Image::zeros(self.width, self.height, self.channels) };
        let [red, green, blue] = color.0;
        let pixel = match self.channels {
            1 => vec![luma(color.0)],
            3 => vec![red, green, blue],
            _ => vec![red, green, blue, 255],
        };
        let samples = pixel.repeat(self.width * self.height);
        Image { width: self.width, height: self.height, channels: self.channels, samples }
    }

    /// Scales the image until it covers the target, and crops it. The pixels that contribute are cut out before
    /// scaling, because a very long or very wide image would take too much memory if it were scaled as a whole.
    fn crop(&self, image: &Image, position: (f64, f64)) -> Image {
        let (width, height) = (self.width, self.height);
        let scale = (width as f64 / image.width as f64).max(height as f64 / image.height as f64);
        // Along one axis: the position in the image at which the target starts, and the range of pixels it overlaps.
        let overlap = |side: usize, target: usize, position: f64| {
            let needed = (target as f64 / scale).min(side as f64);
            let start = (side as f64 - needed) * position;
            let first = (start.floor() as usize).min(side - 1);
            (start, first, ((start + needed).ceil() as usize).clamp(first + 1, side))
        };
        let (left, x, right) = overlap(image.width, width, position.0);
        let (top, y, bottom) = overlap(image.height, height, position.1);
        let part = self.with_channels(&image.crop(x, y, right - x, bottom - y));
        let covering = scaled(&part, scale, |side, min| side.max(min), (width, height), self.filter);
        let offset = |start: f64, first: usize, larger: usize, size: usize| {
            (((start - first as f64) * scale).round() as usize).min(larger - size)
        };
        let x = offset(left, x, covering.width, width);
        let y = offset(top, y, covering.height, height);
        covering.crop(x, y, width, height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: usize, height: usize, channels: usize, samples: &[u8]) -> Image {
        Image { width, height, channels, samples: samples.to_vec() }
    }

    fn conversion(channels: usize, (width, height): (usize, usize), fit: Fit) -> Conversion {
        Conversion { channels, height, width, fit, filter: ResizeFilter::Bicubic, background: None }
    }

    fn convert(image: &Image, channels: usize, size: (usize, usize), fit: Fit) -> Image {
        conversion(channels, size, fit).apply(image, (0.5, 0.5))
    }

    #[test]
    fn channels_follow_the_documented_rules() {
        let rgba = image(2, 1, 4, &[200, 100, 50, 255, 0, 0, 0, 0]);
        assert_eq!(convert(&rgba, 3, (2, 1), Fit::Crop).samples, [200, 100, 50, 255, 255, 255]);
        // 0.299 · 200 + 0.587 · 100 + 0.114 · 50 = 124.2
        assert_eq!(convert(&rgba, 1, (2, 1), Fit::Crop).samples, [124, 255]);
        let gray = image(1, 1, 1, &[7]);
        assert_eq!(convert(&gray, 3, (1, 1), Fit::Crop).samples, [7, 7, 7]);
        assert_eq!(convert(&gray, 4, (1, 1), Fit::Crop).samples, [7, 7, 7, 255]);
    }

    #[test]
    fn the_background_is_behind_and_beside_images() {
        let red = Some(Color([200, 0, 0]));
        let clear = image(1, 1, 4, &[0, 0, 0, 0]);
        let over = |fit, channels| {
            Conversion { background: red, ..conversion(channels, (3, 1), fit) }.apply(&clear, (0.5, 0.5))
        };
        assert_eq!(over(Fit::Pad, 3).samples, [200, 0, 0].repeat(3));
        assert_eq!(over(Fit::Pad, 4).samples, [200, 0, 0, 255, 0, 0, 0, 0, 200, 0, 0, 255]);
        // 0.299 · 200
        assert_eq!(over(Fit::Pad, 1).samples, [60; 3]);
        assert_eq!(over(Fit::Stretch, 3).samples, [200, 0, 0].repeat(3));
    }

    #[test]
    fn an_image_of_the_right_size_is_not_changed() {
        let samples: Vec<u8> = (0..48).map(|i| i * 5).collect();
        let original = image(4, 4, 3, &samples);
        for fit in [Fit::Crop, Fit::Stretch, Fit::Pad] {
            assert_eq!(convert(&original, 3, (4, 4), fit), original);
        }
    }

    #[test]
    fn pad_centers_and_crop_cuts() {
        let small = image(2, 2, 1, &[9; 4]);
        let padded = convert(&small, 1, (4, 4), Fit::Pad);
        assert_eq!(padded.samples, [0, 0, 0, 0, 0, 9, 9, 0, 0, 9, 9, 0, 0, 0, 0, 0]);
        let wide = image(6, 2, 1, &[0, 0, 9, 9, 0, 0, 0, 0, 9, 9, 0, 0]);
        assert_eq!(convert(&wide, 1, (2, 2), Fit::Crop).samples, [9; 4]);
    }

    #[test]
    fn a_crop_is_at_the_given_position() {
        // Column x of a wide image is x · 10.
        let row: Vec<u8> = (0..12).map(|x| x * 10).collect();
        let wide = image(12, 4, 1, &row.repeat(4));
        let crop = |x| conversion(1, (4, 4), Fit::Crop).apply(&wide, (x, 0.0));
        assert_eq!(crop(0.0).samples, [0, 10, 20, 30].repeat(4));
        assert_eq!(crop(0.5).samples, [40, 50, 60, 70].repeat(4));
        assert_eq!(crop(1.0).samples, [80, 90, 100, 110].repeat(4));
        // Upscaled by two: every new pixel lies a quarter of a pixel beside the center of an old one.
        let twice = conversion(1, (8, 8), Fit::Crop).apply(&wide, (0.5, 0.5));
        let near = |(x, value): (usize, &u8)| (f64::from(*value) - (37.5 + 5.0 * x as f64)).abs() < 2.5;
        assert!(twice.samples[..8].iter().enumerate().all(near), "{:?}", &twice.samples[..8]);
    }

    #[test]
    fn a_long_image_takes_no_more_memory_than_its_crop() {
        // Scaled as a whole, the image would have 256 × 8,388,608 pixels of four channels: 8.6 GB.
        let long = image(1, 32_768, 4, &[200; 4 * 32_768]);
        for position in [0.0, 0.3, 1.0] {
            let out = conversion(4, (256, 256), Fit::Crop).apply(&long, (position, position));
            assert!(out.samples.iter().all(|v| *v == 200) && out.samples.len() == 4 * 256 * 256);
        }
    }

    #[test]
    fn unusual_aspect_ratios_give_the_exact_size() {
        for (w, h) in [(1, 1), (1, 500), (333, 7), (33, 31), (1000, 999)] {
            let gray = image(w, h, 1, &vec![128; w * h]);
            for fit in [Fit::Crop, Fit::Stretch, Fit::Pad] {
                let out = convert(&gray, 3, (32, 24), fit);
                assert_eq!((out.width, out.height, out.samples.len()), (32, 24, 32 * 24 * 3), "{w}×{h} {fit:?}");
                if fit != Fit::Pad {
                    assert!(out.samples.iter().all(|v| *v == 128), "{w}×{h} {fit:?}: a flat image stays flat");
                }
            }
        }
    }

    #[test]
    fn colors_of_transparent_pixels_do_not_bleed() {
        // The left half is opaque red, the right half transparent green.
        let row: Vec<u8> = (0..8).flat_map(|x| if x < 4 { [255, 0, 0, 255] } else { [0, 255, 0, 0] }).collect();
        let image = image(8, 8, 4, &row.repeat(8));
        let out = convert(&image, 4, (4, 4), Fit::Stretch);
        assert!(out.samples.chunks(4).all(|p| p[3] == 0 || p[1] == 0), "{:?}", out.samples);
    }
}
