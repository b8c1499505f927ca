//! PNG files.

use std::path::Path;

use crate::error::DataError;
use crate::image::Image;
use crate::image_format::ImageFormat;

/// Writes an image as a PNG file. An existing file is replaced in one step, so a reader never sees a part of an image.
///
/// # Errors
/// [`DataError`] when the image cannot be encoded or the file cannot be written.
pub fn save_png(path: &Path, image: &Image) -> Result<(), DataError> {
    ImageFormat::Png.save(path, image, &[])
}
