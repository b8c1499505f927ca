//! Grids of images.

use std::path::Path;

use candle_core::Tensor;

use crate::error::DataError;
use crate::image::Image;
use crate::pixels::to_images;
use crate::png_file::save_png;
use crate::text_label;

/// The approximate side in pixels to which small images are enlarged, by a whole factor: an 8 × 8 digit would be hardly
/// visible.
const MIN_TILE_SIDE: usize = 64;

/// The number of pixels between images.
const GAP: usize = 2;

/// The largest side of a grid in pixels up to which its images are enlarged.
const MAX_ENLARGED_SIDE: usize = 4096;

/// The value of the samples of the background: a gray that differs from black and from white images.
const BACKGROUND: u8 = 128;

/// Arranges images in rows of `columns` on a gray background. Small images are enlarged by a whole factor.
///
/// # Shapes
/// \[image, channel, height, width\] in \[−1, 1\], with at least one image.
///
/// # Errors
/// [`DataError`] when the tensor has another shape.
pub fn grid(images: &Tensor, columns: usize) -> Result<Image, DataError> {
    let cells = (0..images.dim(0)?).map(|i| (i % columns.max(1), i / columns.max(1)));
    arrange(images, &cells.collect::<Vec<_>>(), &[])
}

/// Arranges images on a gray background in rows with a label on the left. `rows` has the row of each image; the images
/// of a row are in their order. Small images are enlarged by a whole factor.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use ddpm_data::labeled_grid;
///
/// // Two cats and a dog.
/// let images = Tensor::zeros((3, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let picture = labeled_grid(&images, &[0, 1, 0], &["cat", "dog"])?;
/// assert!(picture.width > picture.height);
/// # Ok::<(), ddpm_data::DataError>(())
/// ```
///
/// # Shapes
/// As for [`grid`]. `rows` has one element below the number of labels for each image.
///
/// # Errors
/// [`DataError`] when the tensor or `rows` has another shape.
pub fn labeled_grid(images: &Tensor, rows: &[usize], labels: &[impl AsRef<str>]) -> Result<Image, DataError> {
    let count = images.dim(0)?;
    if rows.len() != count || rows.iter().any(|row| *row >= labels.len()) {
        let problem = format!("expected a row below {} for each of {count} images, found {rows:?}", labels.len());
        return Err(DataError::invalid("a grid", problem));
    }
    let mut filled = vec![0; labels.len()];
    let cells = rows.iter().map(|row| {
        filled[*row] += 1;
        (filled[*row] - 1, *row)
    });
    let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
    arrange(images, &cells.collect::<Vec<_>>(), &labels)
}

/// Puts each image into the cell (column, row), with a label on the left of each row if there are labels.
fn arrange(images: &Tensor, cells: &[(usize, usize)], labels: &[&str]) -> Result<Image, DataError> {
    let images = to_images(images)?;
    let Some(first) = images.first() else {
        return Err(DataError::invalid("a grid", "expected at least one image, found none"));
    };
    let columns = 1 + cells.iter().map(|(column, _)| *column).max().unwrap_or(0);
    let rows = labels.len().max(1 + cells.iter().map(|(_, row)| *row).max().unwrap_or(0));
    let side = first.width.max(first.height).max(1);
    let max_scale = MAX_ENLARGED_SIDE / columns.max(rows) / side;
    let scale = MIN_TILE_SIDE.div_ceil(side).min(max_scale).max(1);
    let (width, height) = (first.width * scale, first.height * scale);
    let font = text_label::font(height);
    let margin = match labels.iter().map(|label| text_label::width(label, font)).max() {
        Some(widest) => widest + 4 * GAP,
        None => 0,
    };
    let mut canvas = background(margin + columns * (width + GAP) + GAP, rows * (height + GAP) + GAP, first.channels);
    for (image, (column, row)) in images.iter().zip(cells) {
        let (x, y) = (margin + column * (width + GAP) + GAP, row * (height + GAP) + GAP);
        canvas.paste(&image.upsampled(scale), x, y);
    }
    for (row, label) in labels.iter().enumerate() {
        text_label::draw(&mut canvas, label, font, margin - GAP, row * (height + GAP) + GAP + height / 2);
    }
    Ok(canvas)
}

/// Puts two pictures with the same number of channels next to each other, each below its caption.
pub fn side_by_side(pictures: [&Image; 2], captions: [&str; 2]) -> Image {
    // Captions must fit above narrow pictures.
    let font = text_label::font(MIN_TILE_SIDE / 4);
    let caption_height = font.character_size.height as usize + 2 * GAP;
    let [left, right] = pictures;
    let gap = 8 * GAP;
    let height = caption_height + left.height.max(right.height);
    let mut canvas = background(left.width + gap + right.width, height, left.channels);
    for (picture, caption, x) in [(left, captions[0], 0), (right, captions[1], left.width + gap)] {
        canvas.paste(picture, x, caption_height);
        text_label::draw_centered(&mut canvas, caption, font, x + picture.width / 2, caption_height / 2);
    }
    canvas
}

/// An opaque picture of the color of the background.
fn background(width: usize, height: usize, channels: usize) -> Image {
    let mut canvas = Image::zeros(width, height, channels);
    canvas.samples.fill(BACKGROUND);
    if channels == 4 {
        canvas.samples.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255);
    }
    canvas
}

/// The number of columns of a [`grid`] with as many columns as rows, or one more.
pub fn square_columns(images: usize) -> usize {
    (images as f64).sqrt().ceil() as usize
}

/// Writes the [`grid`] of the images as a PNG file. The numbers of rows and columns are as equal as possible.
///
/// # Errors
/// [`DataError`] when the tensor has another shape or the file cannot be written.
pub fn save_grid(path: &Path, images: &Tensor) -> Result<(), DataError> {
    save_png(path, &grid(images, square_columns(images.dim(0)?))?)
}

/// Arranges the intermediate states of a sampling process: one row for each image, one column for each state.
///
/// # Shapes
/// Each state is \[image, channel, height, width\] in \[−1, 1\]; all have the same shape.
///
/// # Errors
/// [`DataError`] when there is no state, or the shapes differ.
pub fn strip(states: &[Tensor]) -> Result<Image, DataError> {
    // [image, state, …], flattened into rows of states.
    let stacked = Tensor::stack(states, 1)?.flatten(0, 1)?;
    grid(&stacked, states.len())
}
