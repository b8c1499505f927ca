//! The interface of feature networks.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::error::Result;
use crate::preprocessing::Preprocessing;

/// A network that turns images into features, such as those between which the Fréchet distance is computed.
pub trait FeatureNetwork: Debug + Send + Sync {
    /// The name of the network, for records.
    fn name(&self) -> &'static str;

    /// The number of features of an image.
    fn feature_width(&self) -> usize;

    /// The number of classes of the logits; `None` for a network without a classifier.
    fn class_count(&self) -> Option<usize>;

    /// How images are resized and normalized before the first layer.
    fn preprocessing(&self) -> &Preprocessing;

    /// The features of a batch of images.
    ///
    /// # Shapes
    /// `images` [image, 3, height, width], f32, with the 8-bit values 0 to 255 of red, green and blue, on any device.
    /// Gray images have their values three times. The batch may be of any size and empty; on the CPU every thread works
    /// on one image, so a batch should have at least as many images as there are threads.
    ///
    /// # Errors
    /// [`FeaturesError::Images`](crate::FeaturesError::Images) for another shape or type;
    /// [`FeaturesError::Candle`](crate::FeaturesError::Candle).
    fn features(&self, images: &Tensor) -> Result<Features>;
}

/// What a network computes from a batch of images.
#[derive(Debug, Clone)]
pub struct Features {
    /// [image, feature], f32, on the device of the network.
    pub features: Tensor,
    /// [image, class], f32: the values before the softmax. `None` for a network without a classifier.
    pub logits: Option<Tensor>,
}
