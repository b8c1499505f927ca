//! Conversion between 8-bit samples and values in [−1, 1].

use candle_core::{DType, Device, Tensor};

use crate::error::DataError;
use crate::image::Image;

/// The value in [−1, 1] of an 8-bit sample p: p / 127.5 − 1 (Ho et al. 2020, section 3.3).
pub fn pixel_to_value(pixel: u8) -> f32 {
    f32::from(pixel) / 127.5 - 1.0
}

/// The 8-bit sample of a value x: (x + 1) · 127.5, rounded half up and clamped to [0, 255]. NaN becomes 0.
///
/// DIFFERENCE: the article *Introduction to Generative AI: Vision Series (3/3) – DDPM* stretches each channel of each
/// image to its own minimum and maximum, which changes colors and divides by zero if an image is flat.
pub fn value_to_pixel(value: f32) -> u8 {
    // `as` saturates, and converts NaN to 0.
    ((value + 1.0) * 127.5 + 0.5).floor() as u8
}

/// Converts a batch of samples to 8-bit images.
///
/// # Shapes
/// \[image, channel, height, width\] in \[−1, 1\], with 1, 3 or 4 channels.
///
/// # Errors
/// [`DataError`] when the tensor has another shape.
pub fn to_images(images: &Tensor) -> Result<Vec<Image>, DataError> {
    let (_, channels, height, width) = images.dims4()?;
    if ![1, 3, 4].contains(&channels) {
        return Err(DataError::invalid("images", format!("expected 1, 3 or 4 channels, found {channels}")));
    }
    let last = images.permute((0, 2, 3, 1))?.to_dtype(DType::F32)?.flatten_from(1)?;
    let image =
        |values: Vec<f32>| Image { width, height, channels, samples: values.into_iter().map(value_to_pixel).collect() };
    Ok(last.to_vec2::<f32>()?.into_iter().map(image).collect())
}

/// Converts 8-bit images of one size to a batch: the inverse of [`to_images`].
///
/// # Shapes
/// The result is f32 \[image, channel, height, width\] in \[−1, 1\], on the CPU.
///
/// # Errors
/// [`DataError`] when there are no images, or their sizes or channels differ.
pub fn to_tensor(images: &[Image]) -> Result<Tensor, DataError> {
    let Some(Image { width, height, channels, .. }) = images.first() else {
        return Err(DataError::invalid("images", "expected at least one, found none"));
    };
    let mut values = Vec::with_capacity(images.len() * width * height * channels);
    for image in images {
        if (image.width, image.height, image.channels) != (*width, *height, *channels) {
            return Err(DataError::invalid("images", "expected images of one size"));
        }
        values.extend(image.samples.iter().map(|pixel| pixel_to_value(*pixel)));
    }
    let last = Tensor::from_vec(values, (images.len(), *height, *width, *channels), &Device::Cpu)?;
    Ok(last.permute((0, 3, 1, 2))?.contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_recovered_from_its_value() {
        assert!((0..=255).all(|pixel| value_to_pixel(pixel_to_value(pixel)) == pixel));
    }

    #[test]
    fn images_are_recovered_from_a_batch() {
        let image = |first: u8| Image { width: 2, height: 1, channels: 3, samples: (first..first + 6).collect() };
        let images = [image(0), image(200)];
        let tensor = to_tensor(&images).unwrap();
        assert_eq!(tensor.dims(), [2, 3, 1, 2]);
        assert_eq!(to_images(&tensor).unwrap(), images);
        assert!(to_tensor(&[]).is_err() && to_tensor(&[image(0), Image::zeros(1, 2, 3)]).is_err());
    }

    #[test]
    fn limits_and_halves_are_rounded_as_documented() {
        assert_eq!([pixel_to_value(0), pixel_to_value(255)], [-1.0, 1.0]);
        assert_eq!(
            [-7.0, -1.0, 0.0, 1.0, 7.0, f32::NAN, f32::INFINITY].map(value_to_pixel),
            [0, 0, 128, 255, 255, 0, 255]
        );
    }
}
