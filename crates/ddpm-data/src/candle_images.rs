//! The images of a `candle_datasets::vision::Dataset` as an [`ImageSource`].

use candle_core::{DType, Device, Tensor};
use candle_datasets::vision::Dataset;

use crate::candle_dataset::CandleSplit;
use crate::error::DataError;
use crate::image::Image;
use crate::image_source::ImageSource;
use crate::labels::{FileLabels, Labels, combine};

/// One split of a `candle_datasets::vision::Dataset`.
///
/// The tensor of the dataset is kept as it is, and one image of it is converted to 8-bit samples at a time. The labels
/// of the dataset are the classes of the images, named by their numbers, if there are at least two.
///
/// `candle_datasets::vision::cifar::load` (version 0.11) swaps the rows and the columns of every image. This type
/// cannot notice that, so images from that function come out transposed. `cifar::load_dir` and the functions for MNIST
/// do not swap them.
///
/// # Shapes
/// The images of the dataset are one of
/// - \[image, channel, height, width\], with 1, 3 or 4 channels;
/// - \[image, height, width\], with one channel;
/// - \[image, sample\], where the number of samples is side² (one channel, as in MNIST) or 3 · side² (three channels,
///   in planes).
///
/// Floating-point values are in \[0, 1\]; integers are in \[0, 255\].
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_datasets::vision::Dataset;
/// use ddpm_data::{CandleImages, CandleSplit, ImageSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let images = Tensor::zeros((5, 784), DType::F32, &Device::Cpu)?;
/// let labels = Tensor::zeros(5, DType::U8, &Device::Cpu)?;
/// let (test_images, test_labels) = (images.clone(), labels.clone());
/// let dataset = Dataset { train_images: images, train_labels: labels, test_images, test_labels, labels: 10 };
/// let source = CandleImages::new("zeros", &dataset, CandleSplit::Train)?;
/// assert_eq!((source.len(), source.decode(0)?.width), (5, 28));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct CandleImages {
    name: String,
    /// [image, channel, height, width]
    images: Tensor,
    labels: Option<Labels>,
}

impl CandleImages {
    /// Takes the images of one split. `name` names the dataset in messages.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when the tensor has another shape than those listed for the type, or there is another
    /// number of labels than of images.
    pub fn new(name: impl Into<String>, dataset: &Dataset, split: CandleSplit) -> Result<Self, DataError> {
        let (images, labels) = match split {
            CandleSplit::Train => (&dataset.train_images, &dataset.train_labels),
            CandleSplit::Test => (&dataset.test_images, &dataset.test_labels),
        };
        let name = format!("{}, split {split}", name.into());
        let shape = image_shape(images.dims()).map_err(|problem| DataError::invalid(&name, problem))?;
        let images = images.to_device(&Device::Cpu)?.reshape((images.dim(0)?, shape[0], shape[1], shape[2]))?;
        let numbers = labels.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
        if numbers.len() != images.dim(0)? {
            let problem = format!("expected {} labels, one for each image, found {}", images.dim(0)?, numbers.len());
            return Err(DataError::invalid(name, problem));
        }
        let labels = combine(&name, &[FileLabels::numbers(numbers)], |index| format!("{name}, image {index}"))?;
        Ok(Self { name, images, labels })
    }
}

/// [channel, height, width] of the images in a tensor with the dimensions `dims`.
fn image_shape(dims: &[usize]) -> Result<[usize; 3], String> {
    let shape = match *dims {
        [_, channels, height, width] if [1, 3, 4].contains(&channels) => Some([channels, height, width]),
        [_, height, width] => Some([1, height, width]),
        [_, samples] => [1, 3].into_iter().find_map(|channels| {
            let side = (samples / channels).isqrt();
            (channels * side * side == samples).then_some([channels, side, side])
        }),
        _ => None,
    };
    shape.filter(|shape| !shape.contains(&0)).ok_or_else(|| {
        format!(
            "expected images of the shape [image, channel, height, width] with 1, 3 or 4 channels, \
             [image, height, width], or [image, sample] with side² or 3 · side² samples, found {dims:?}"
        )
    })
}

impl ImageSource for CandleImages {
    fn len(&self) -> usize {
        self.images.dims()[0]
    }

    fn name(&self, index: usize) -> String {
        format!("{}, image {index}", self.name)
    }

    fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    fn decode(&self, index: usize) -> Result<Image, DataError> {
        let image = self.images.get(index)?.permute((1, 2, 0))?;
        let (height, width, channels) = image.dims3()?;
        let image = image.flatten_all()?;
        let scale = if image.dtype().is_float() { 255.0 } else { 1.0 };
        let values = image.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        if let Some(value) = values.iter().find(|value| !(0.0..=255.0).contains(&(*value * scale))) {
            let range = if scale == 1.0 { "integers in [0, 255]" } else { "values in [0, 1]" };
            return Err(DataError::invalid(self.name(index), format!("expected {range}, found {value}")));
        }
        let samples = values.into_iter().map(|value| (value * scale).round() as u8).collect();
        Ok(Image { width, height, channels, samples })
    }
}
