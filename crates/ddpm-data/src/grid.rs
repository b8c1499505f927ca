//! Many images as one.

use std::path::Path;

use candle_core::Tensor;

use crate::{DataError, Image, save_png, to_images};

/// The side that a small image is enlarged to, about, in whole multiples: 8 × 8 digits would be specks.
const TILE: usize = 64;
/// Pixels between images.
const GAP: usize = 2;
/// The largest side of a grid, in pixels, beyond which its images are not enlarged.
const MAX_SIDE: usize = 4096;

/// The images in rows of `columns`, enlarged by a whole factor where they are small, on white.
///
/// # Shapes
/// [image, channel, height, width] in [−1, 1], at least one image.
///
/// # Errors
/// When the tensor has another shape.
pub fn grid(images: &Tensor, columns: usize) -> Result<Image, DataError> {
    let images = to_images(images)?;
    let Some(first) = images.first() else { return Err(DataError::damaged("a grid", "no images to draw")) };
    let columns = columns.clamp(1, images.len());
    let rows = images.len().div_ceil(columns);
    let room = MAX_SIDE / columns.max(rows) / first.width.max(first.height).max(1);
    let scale = TILE.div_ceil(first.width.max(first.height).max(1)).min(room).max(1);
    let (width, height) = (first.width * scale, first.height * scale);
    let mut canvas = Image::black(columns * (width + GAP) + GAP, rows * (height + GAP) + GAP, first.channels);
    canvas.samples.fill(255);
    for (i, image) in images.iter().enumerate() {
        let (x, y) = (i % columns * (width + GAP) + GAP, i / columns * (height + GAP) + GAP);
        canvas.paste(&image.enlarged(scale), x, y);
    }
    Ok(canvas)
}

/// Writes [`grid`] as a PNG, as square as it can be.
///
/// # Errors
/// When the tensor has another shape, or the file cannot be written.
pub fn save_grid(path: &Path, images: &Tensor) -> Result<(), DataError> {
    let columns = (images.dim(0)? as f64).sqrt().ceil() as usize;
    save_png(path, &grid(images, columns)?)
}

/// Writes moments of a sampling as a PNG: a row an image, time from left to right.
///
/// # Shapes
/// Each moment [image, channel, height, width] in [−1, 1].
///
/// # Errors
/// When there is no moment, the shapes differ, or the file cannot be written.
pub fn save_strip(path: &Path, moments: &[Tensor]) -> Result<(), DataError> {
    // [image, moment, …] in rows of moments.
    let stacked = Tensor::stack(moments, 1)?.flatten(0, 1)?;
    save_png(path, &grid(&stacked, moments.len())?)
}
