//! Resizing of images.

use image::imageops::{FilterType, resize};
use image::{GrayImage, ImageBuffer, RgbImage, RgbaImage};

use crate::image::Image;
use crate::resize_filter::ResizeFilter;

/// Scales an image by a factor. `bound` limits each rounded side by that of the target, because rounding must not make
/// it a pixel too short or too long.
pub(crate) fn scaled(
    image: &Image,
    scale: f64,
    bound: impl Fn(usize, usize) -> usize,
    target: (usize, usize),
    filter: ResizeFilter,
) -> Image {
    let side = |side: usize, target| bound((side as f64 * scale).round() as usize, target);
    resized(image, side(image.width, target.0), side(image.height, target.1), filter)
}

/// Resizes an image to exactly this size.
pub(crate) fn resized(image: &Image, width: usize, height: usize, filter: ResizeFilter) -> Image {
    if (image.width, image.height) == (width, height) {
        return image.clone();
    }
    let from = (image.width as u32, image.height as u32, image.samples.clone());
    let to = (width as u32, height as u32, filter.filter_type());
    let holds = "the samples of an image fill its size";
    let samples = match image.channels {
        1 => resize(&GrayImage::from_raw(from.0, from.1, from.2).expect(holds), to.0, to.1, to.2).into_raw(),
        3 => resize(&RgbImage::from_raw(from.0, from.1, from.2).expect(holds), to.0, to.1, to.2).into_raw(),
        _ => resize_rgba(&RgbaImage::from_raw(from.0, from.1, from.2).expect(holds), to),
    };
    Image { width, height, channels: image.channels, samples }
}

/// Resizes with colors weighted by their alpha, so that the colors of transparent pixels do not bleed into visible
/// ones.
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
        let color = |v: f32| if alpha > 0.0 { (v / alpha).clamp(0.0, 1.0) } else { 0.0 };
        [color(r), color(g), color(b), alpha].map(|v| (v * 255.0 + 0.5) as u8)
    };
    resized.pixels().flat_map(back).collect()
}
