//! PNG files.

use std::path::Path;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::atomic_write::write_atomically;
use crate::error::DataError;
use crate::image::Image;

/// Writes an image as a PNG file. An existing file is replaced in one step, so a reader never sees a part of an image.
///
/// # Errors
/// [`DataError`] when the image cannot be encoded or the file cannot be written.
pub fn save_png(path: &Path, image: &Image) -> Result<(), DataError> {
    let colour = match image.channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::Rgba8,
    };
    let mut bytes = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    PngEncoder::new(&mut bytes)
        .write_image(&image.samples, width, height, colour)
        .map_err(|error| DataError::invalid(path.display(), error))?;
    write_atomically(path, &bytes)
}
