//! Images as a network takes them, without augmentation.

use candle_core::Tensor;
use tracing::warn;

use crate::conversion::Conversion;
use crate::decode_request::{DecodeRequest, PixelBudget};
use crate::error::DataError;
use crate::image_source::ImageSource;
use crate::pixels::to_tensor;

/// The position of a crop in the middle.
const CENTER: (f64, f64) = (0.5, 0.5);

/// Images of a set, converted to one format.
#[derive(Debug, Clone)]
pub struct PreparedImages {
    /// f32 \[image, channel, height, width\] in \[−1, 1\], on the CPU.
    pub images: Tensor,
    /// The class of each image; `None` if the set has no classes.
    pub labels: Option<Vec<u32>>,
    /// The index of each image in its set.
    pub indices: Vec<usize>,
}

/// Decodes and converts the images `indices` of `source`. `max_pixels` is the number of pixels that may be decoded at a
/// time. Undecodable images are left out with a warning.
///
/// # Errors
/// [`DataError`] when none of the images can be decoded.
pub fn prepared_images(
    source: &dyn ImageSource,
    conversion: &Conversion,
    max_pixels: u64,
    indices: impl IntoIterator<Item = usize>,
) -> Result<PreparedImages, DataError> {
    let budget = PixelBudget::new(max_pixels);
    let (mut images, mut decoded) = (Vec::new(), Vec::new());
    for index in indices {
        let mut request = DecodeRequest::at_least(conversion.sufficient_side(), &budget);
        match source.decode_as(index, &mut request) {
            Ok(image) => {
                images.push(conversion.apply(&image, CENTER));
                decoded.push(index);
            }
            Err(error) => warn!("{error}; it is left out"),
        }
    }
    let labels = source.labels().map(|labels| decoded.iter().map(|index| labels.label(*index)).collect());
    Ok(PreparedImages { images: to_tensor(&images)?, labels, indices: decoded })
}
