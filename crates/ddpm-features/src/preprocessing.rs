//! From images of 8-bit values to the input of a network.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::axis_weights::AxisWeights;
use crate::blocked::PlanarImage;
use crate::error::{FeaturesError, Result};
use crate::resize::Resize;

/// Resizing and normalization of images. It belongs into the record of every figure that is computed from features.
///
/// The whole image is resized to a square: images that are not square change their aspect ratio.
///
/// # Examples
/// ```
/// use ddpm_features::{Preprocessing, Resize};
///
/// let preprocessing = Preprocessing::pytorch_fid();
/// assert_eq!((preprocessing.resize, preprocessing.size), (Resize::TorchBilinear, 299));
/// let text = serde_json::to_string(&preprocessing).unwrap();
/// assert!(text.starts_with(r#"{"resize":"torch-bilinear","size":299"#));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// How images are resized.
    pub resize: Resize,
    /// Height and width of the input of the network, in pixels.
    pub size: usize,
    /// The value of each color that becomes 0, in the range of the images, [0, 255].
    pub mean: [f64; 3],
    /// The difference from `mean` that becomes 1.
    pub std: [f64; 3],
}

/// Mean and standard deviation of ImageNet's colors, which torchvision's models expect.
const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

impl Preprocessing {
    /// The preprocessing in the graph `inception-2015-12-05` of TensorFlow: (x − 128) / 128 at 299 pixels.
    /// torch-fidelity and StyleGAN's metrics use it.
    pub fn tensorflow_inception() -> Self {
        Self::with_one_normalization(Resize::TensorflowBilinear, 128.0)
    }

    /// The preprocessing of pytorch-fid: 2 x / 255 − 1 at 299 pixels.
    pub fn pytorch_fid() -> Self {
        Self::with_one_normalization(Resize::TorchBilinear, 127.5)
    }

    /// The preprocessing of clean-fid (Parmar et al. 2022): (x − 128) / 128 at 299 pixels.
    pub fn clean_fid() -> Self {
        Self::with_one_normalization(Resize::PillowBicubic, 128.0)
    }

    /// The preprocessing of EfficientNet-Lite0: ImageNet's mean and standard deviation at 224 pixels, as the package
    /// efficientnet-lite-pytorch documents it.
    ///
    /// DIFFERENCE: the package rounds the resized image to 8 bits and cuts a square out of it; here nothing is rounded
    /// or cut off.
    pub fn efficientnet_lite0() -> Self {
        Self::imagenet(224)
    }

    /// The preprocessing of DINOv2 for evaluation (Stein et al. 2023): ImageNet's mean and standard deviation at 224
    /// pixels, without rounding to 8 bits.
    pub fn dino_v2() -> Self {
        Self::imagenet(224)
    }

    fn with_one_normalization(resize: Resize, center: f64) -> Self {
        Self { resize, size: 299, mean: [center; 3], std: [center; 3] }
    }

    fn imagenet(size: usize) -> Self {
        let bytes = |values: [f64; 3]| values.map(|value| 255.0 * value);
        Self { resize: Resize::PillowBicubic, size, mean: bytes(IMAGENET.0), std: bytes(IMAGENET.1) }
    }

    /// Checks that the size is in `sizes` and that the normalization is finite.
    pub(crate) fn check(&self, sizes: std::ops::RangeInclusive<usize>) -> Result<()> {
        if !sizes.contains(&self.size) {
            let (expected, found) = (format!("{} to {}", sizes.start(), sizes.end()), self.size.to_string());
            return Err(FeaturesError::Config { field: "size", expected, found });
        }
        for (field, values) in [("mean", self.mean), ("std", self.std)] {
            if values.iter().any(|value| !value.is_finite() || (field == "std" && *value <= 0.0)) {
                let (expected, found) = ("finite numbers, positive ones for std".to_owned(), format!("{values:?}"));
                return Err(FeaturesError::Config { field, expected, found });
            }
        }
        Ok(())
    }

    /// The input of the network for a batch of images.
    ///
    /// # Shapes
    /// `images` [image, 3, height, width], f32 with values in [0, 255]; the result is [image, 3, size, size].
    ///
    /// # Errors
    /// [`FeaturesError::Images`] for another shape or type; [`FeaturesError::Config`] for a size of 0 or above 2^14, or
    /// a normalization that is not finite.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        self.check(1..=1 << 14)?;
        let (count, height, width) = Self::check_images(images)?;
        let prepared = self.for_size(height, width);
        if !images.device().is_cpu() {
            return prepared.batch(images);
        }
        let values = images.flatten_all()?.to_vec1::<f32>()?;
        let values = values.chunks_exact(3 * height * width).flat_map(|image| prepared.image(image).values).collect();
        Ok(Tensor::from_vec(values, (count, 3, self.size, self.size), images.device())?)
    }

    /// Prepares images of one size.
    pub(crate) fn for_size(&self, height: usize, width: usize) -> PreparedPreprocessing {
        let (vertical, horizontal) = (self.resize.axis(height, self.size), self.resize.axis(width, self.size));
        PreparedPreprocessing { preprocessing: self.clone(), vertical, horizontal }
    }

    /// Checks the shape of images and returns [image, height, width].
    pub(crate) fn check_images(images: &Tensor) -> Result<(usize, usize, usize)> {
        match *images.dims() {
            [count, 3, height, width] if height * width > 0 && images.dtype() == candle_core::DType::F32 => {
                Ok((count, height, width))
            }
            _ => Err(FeaturesError::Images { found: format!("{:?} of {:?}", images.dims(), images.dtype()) }),
        }
    }
}

/// A preprocessing for images of one size.
#[derive(Debug)]
pub(crate) struct PreparedPreprocessing {
    preprocessing: Preprocessing,
    vertical: AxisWeights,
    horizontal: AxisWeights,
}

impl PreparedPreprocessing {
    /// One image [3, height, width] of values in [0, 255].
    pub(crate) fn image(&self, image: &[f32]) -> PlanarImage {
        let size = self.preprocessing.size;
        let (height, width) = (self.vertical.input_length, self.horizontal.input_length);
        let mut values = vec![0.0; 3 * size * size];
        let mut rows = vec![0.0; height * size];
        for (color, out) in values.chunks_exact_mut(size * size).enumerate() {
            let plane = &image[color * height * width..(color + 1) * height * width];
            for (row, from) in rows.chunks_exact_mut(size).zip(plane.chunks_exact(width)) {
                for (value, (first, weights)) in row.iter_mut().zip(&self.horizontal.rows) {
                    *value = from[*first..].iter().zip(weights).map(|(value, weight)| value * weight).sum();
                }
            }
            let (scale, shift) = self.normalization(color);
            for (out, (first, weights)) in out.chunks_exact_mut(size).zip(&self.vertical.rows) {
                for (row, weight) in rows[first * size..].chunks_exact(size).zip(weights) {
                    out.iter_mut().zip(row).for_each(|(out, value)| *out += weight * value);
                }
                if self.preprocessing.resize.overshoots() {
                    out.iter_mut().for_each(|value| *value = value.clamp(0.0, 255.0));
                }
                out.iter_mut().for_each(|value| *value = *value * scale + shift);
            }
        }
        PlanarImage { height: size, width: size, values }
    }

    /// A batch [image, 3, height, width] of values in [0, 255], on its device.
    pub(crate) fn batch(&self, images: &Tensor) -> Result<Tensor> {
        let device = images.device();
        let matrix = |axis: &AxisWeights| Tensor::from_vec(axis.matrix(), (axis.rows.len(), axis.input_length), device);
        let (vertical, horizontal) = (matrix(&self.vertical)?, matrix(&self.horizontal)?);
        let rows = images.contiguous()?.broadcast_matmul(&horizontal.t()?.contiguous()?)?;
        let mut resized = vertical.broadcast_matmul(&rows)?;
        if self.preprocessing.resize.overshoots() {
            resized = resized.clamp(0.0, 255.0)?;
        }
        let factors: Vec<(f32, f32)> = (0..3).map(|color| self.normalization(color)).collect();
        let tensor = |values: Vec<f32>| Tensor::from_vec(values, (1, 3, 1, 1), device);
        let scale = tensor(factors.iter().map(|(scale, _)| *scale).collect())?;
        let shift = tensor(factors.iter().map(|(_, shift)| *shift).collect())?;
        Ok(resized.broadcast_mul(&scale)?.broadcast_add(&shift)?)
    }

    /// The factor and the summand of a color.
    fn normalization(&self, color: usize) -> (f32, f32) {
        let (mean, std) = (self.preprocessing.mean[color], self.preprocessing.std[color]);
        ((1.0 / std) as f32, (-mean / std) as f32)
    }
}

#[cfg(test)]
mod tests {
    use ddpm_testkit::{assert_close, formula_images};

    use super::*;

    #[test]
    fn batches_equal_single_images() {
        for preprocessing in
            [Preprocessing::tensorflow_inception(), Preprocessing::pytorch_fid(), Preprocessing::dino_v2()]
        {
            for (height, width) in [(32, 32), (300, 7)] {
                let images = formula_images(2, height, width);
                let batch = preprocessing.for_size(height, width).batch(&images).expect("a batch");
                let single = preprocessing.apply(&images).expect("images");
                // Only the order of the sums differs.
                assert_close("batch", &batch, &single, 1e-5);
            }
        }
    }
}
