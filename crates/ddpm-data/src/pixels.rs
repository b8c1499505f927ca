//! Between 8-bit samples and the network's range.

use candle_core::{DType, Tensor};

use crate::{DataError, Image};

/// p / 127.5 − 1: 0 to 255 onto [−1, 1].
pub fn pixel_to_value(pixel: u8) -> f32 {
    f32::from(pixel) / 127.5 - 1.0
}

/// (x + 1) · 127.5 rounded half up, clamped to 0 to 255. NaN is 0.
///
/// DIFFERENCE: the article stretches each channel of each image to its own least and greatest value, which destroys
/// colours and divides by zero where an image is flat.
pub fn value_to_pixel(value: f32) -> u8 {
    // `as` saturates and takes NaN to 0.
    ((value + 1.0) * 127.5 + 0.5).floor() as u8
}

/// The images of a batch.
///
/// # Shapes
/// [image, channel, height, width] in [−1, 1], of 1, 3 or 4 channels.
///
/// # Errors
/// When the tensor has another shape.
pub fn to_images(images: &Tensor) -> Result<Vec<Image>, DataError> {
    let (_, channels, height, width) = images.dims4()?;
    if ![1, 3, 4].contains(&channels) {
        return Err(DataError::damaged("images", format!("expected 1, 3 or 4 channels, found {channels}")));
    }
    let last = images.permute((0, 2, 3, 1))?.to_dtype(DType::F32)?.flatten_from(1)?;
    let image =
        |values: Vec<f32>| Image { width, height, channels, samples: values.into_iter().map(value_to_pixel).collect() };
    Ok(last.to_vec2::<f32>()?.into_iter().map(image).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_survives_the_way_in_and_out() {
        assert!((0..=255).all(|pixel| value_to_pixel(pixel_to_value(pixel)) == pixel));
    }

    #[test]
    fn ends_and_halves() {
        assert_eq!([pixel_to_value(0), pixel_to_value(255)], [-1.0, 1.0]);
        assert_eq!(
            [-7.0, -1.0, 0.0, 1.0, 7.0, f32::NAN, f32::INFINITY].map(value_to_pixel),
            [0, 0, 128, 255, 255, 0, 255]
        );
    }
}
