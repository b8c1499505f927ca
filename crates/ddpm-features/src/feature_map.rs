//! The values between the layers of a convolutional network.

use candle_core::Tensor;

use crate::blocked::{self, BlockedImage, PlanarImage};
use crate::error::{FeaturesError, Result};

/// A feature map: of one image on the CPU, or of a batch on any device.
#[derive(Debug, Clone)]
pub(crate) enum FeatureMap {
    /// The colors of one image, which only a convolution reads.
    Planar(PlanarImage),
    /// One image with its channels in blocks.
    Blocked(BlockedImage),
    /// A batch [image, channel, height, width].
    Planes(Tensor),
}

/// One vector for each image.
#[derive(Debug, Clone)]
pub(crate) enum Vectors {
    /// The vector of one image.
    One(Vec<f32>),
    /// [image, feature]
    Batch(Tensor),
}

impl FeatureMap {
    /// The largest value of every 3 × 3 window at stride 2, without padding.
    pub(crate) fn max_pool_stride_2(&self) -> Result<Self> {
        match self {
            Self::Planar(_) => Err(not_convolved()),
            Self::Blocked(image) => Ok(Self::Blocked(blocked::max_pool_3x3(image, 2, 0))),
            Self::Planes(x) => Ok(Self::Planes(x.max_pool2d_with_stride(3, 2)?)),
        }
    }

    /// The largest value of the 3 × 3 window around every pixel. The values must not be negative.
    pub(crate) fn max_pool(&self) -> Result<Self> {
        match self {
            Self::Planar(_) => Err(not_convolved()),
            Self::Blocked(image) => Ok(Self::Blocked(blocked::max_pool_3x3(image, 1, 1))),
            // A border of zeros does not change the largest of values that are not negative.
            Self::Planes(x) => Ok(Self::Planes(with_border(x)?.max_pool2d_with_stride(3, 1)?)),
        }
    }

    /// The mean of the 3 × 3 window around every pixel, without the pixels outside of the image.
    pub(crate) fn average_pool(&self) -> Result<Self> {
        match self {
            Self::Planar(_) => Err(not_convolved()),
            Self::Blocked(image) => Ok(Self::Blocked(blocked::average_pool_3x3(image))),
            Self::Planes(x) => {
                let (_, _, height, width) = x.dims4()?;
                let mean = |x: &Tensor| with_border(x)?.avg_pool2d_with_stride(3, 1);
                let inside = mean(&Tensor::ones((1, 1, height, width), x.dtype(), x.device())?)?;
                Ok(Self::Planes(mean(x)?.broadcast_div(&inside)?))
            }
        }
    }

    /// The channels of all maps, in order.
    pub(crate) fn concat(maps: Vec<Self>) -> Result<Self> {
        let mut images = Vec::new();
        let mut planes = Vec::new();
        for map in maps {
            match map {
                Self::Planar(_) => return Err(not_convolved()),
                Self::Blocked(image) => images.push(image),
                Self::Planes(x) => planes.push(x),
            }
        }
        match images.is_empty() {
            true => Ok(Self::Planes(Tensor::cat(&planes, 1)?)),
            false => Ok(Self::Blocked(BlockedImage::concat(&images))),
        }
    }

    /// The mean of all pixels of every channel.
    pub(crate) fn spatial_mean(&self) -> Result<Vectors> {
        match self {
            Self::Planar(_) => Err(not_convolved()),
            Self::Blocked(image) => Ok(Vectors::One(blocked::spatial_mean(image))),
            Self::Planes(x) => Ok(Vectors::Batch(x.mean((2, 3))?)),
        }
    }
}

fn with_border(x: &Tensor) -> candle_core::Result<Tensor> {
    x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)
}

/// The error of an operation before the first convolution, or of maps of two kinds.
pub(crate) fn not_convolved() -> FeaturesError {
    candle_core::Error::Msg("the first operation of a network has to be a convolution".to_owned()).into()
}
