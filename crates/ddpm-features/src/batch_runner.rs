//! Batches of images through a convolutional network.

use candle_core::{DType, Device, Tensor};

use crate::blocked::for_each_image;
use crate::error::Result;
use crate::execution::Execution;
use crate::feature_map::{FeatureMap, Vectors};
use crate::preprocessing::Preprocessing;

/// Preprocesses `images` [image, 3, height, width] and runs `network` on them, which returns `widths.len()` vectors for
/// each image. Returns each vector for all images, [image, width].
pub(crate) fn run_batch(
    images: &Tensor,
    preprocessing: &Preprocessing,
    execution: &Execution,
    widths: &[usize],
    network: impl Fn(FeatureMap) -> Result<Vec<Vectors>> + Send + Sync,
) -> Result<Vec<Tensor>> {
    let (count, height, width) = Preprocessing::check_images(images)?;
    let device = execution.device();
    if count == 0 {
        let empty = |width: &usize| Ok(Tensor::zeros((0, *width), DType::F32, device)?);
        return widths.iter().map(empty).collect();
    }
    let prepared = preprocessing.for_size(height, width);
    match execution {
        Execution::Planes(device) => {
            let outputs = network(FeatureMap::Planes(prepared.batch(&images.to_device(device)?)?))?;
            outputs.into_iter().map(tensor).collect()
        }
        Execution::Blocked => {
            let values = images.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            let images: Vec<&[f32]> = values.chunks_exact(3 * height * width).collect();
            let outputs = for_each_image(&images, |image| network(FeatureMap::Planar(prepared.image(image))))?;
            let mut batches: Vec<Vec<f32>> = widths.iter().map(|width| Vec::with_capacity(count * width)).collect();
            for vectors in outputs {
                for (batch, vector) in batches.iter_mut().zip(vectors) {
                    match vector {
                        Vectors::One(values) => batch.extend(values),
                        Vectors::Batch(tensor) => batch.extend(tensor.flatten_all()?.to_vec1::<f32>()?),
                    }
                }
            }
            let tensor = |(values, width): (Vec<f32>, &usize)| Tensor::from_vec(values, (count, *width), &Device::Cpu);
            Ok(batches.into_iter().zip(widths).map(tensor).collect::<candle_core::Result<_>>()?)
        }
    }
}

fn tensor(vectors: Vectors) -> Result<Tensor> {
    match vectors {
        Vectors::Batch(tensor) => Ok(tensor),
        Vectors::One(values) => {
            let width = values.len();
            Ok(Tensor::from_vec(values, (1, width), &Device::Cpu)?)
        }
    }
}
