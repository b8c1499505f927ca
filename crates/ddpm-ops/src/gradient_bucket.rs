//! Gradients of several parameters in one tensor, which is sent to other processes in one message.

use candle_core::{Result, Tensor, bail};

use crate::dispatch;
use crate::tape::gradient::Gradient;

/// The elements of all gradients one after the other.
///
/// # Shapes
/// A contiguous f32 tensor of one axis, on the device of the gradients.
///
/// # Errors
/// When `gradients` is empty, or they are on different devices.
pub fn concatenate_gradients(gradients: &[&Gradient]) -> Result<Tensor> {
    let Some(first) = gradients.first() else { bail!("a bucket needs at least one gradient") };
    dispatch::gradient_backend(first).concatenate(gradients)
}

/// The gradients of a bucket of [`concatenate_gradients`], which have `sizes` elements each. They share its memory.
///
/// # Shapes
/// `bucket`: a tensor of one axis.
///
/// # Errors
/// When the sizes do not sum to that of the bucket.
pub fn split_gradients(bucket: &Tensor, sizes: &[usize]) -> Result<Vec<Gradient>> {
    let (expected, found) = (sizes.iter().sum::<usize>(), bucket.elem_count());
    if expected != found {
        bail!("a bucket of gradients: expected {expected} elements, found {found}");
    }
    let mut start = 0;
    let mut part = |&size: &usize| {
        let part = bucket.narrow(0, start, size)?;
        start += size;
        Ok(Gradient::from(part))
    };
    sizes.iter().map(&mut part).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::cpu::buffer::Buffer;

    #[test]
    fn a_bucket_splits_into_the_gradients_it_was_made_of() {
        let device = Device::Cpu;
        let computed = Gradient::new(Buffer::copy_of(&[1.0, 2.0, 3.0]));
        let loss = Gradient::from(Tensor::new(4.0_f32, &device).unwrap());
        let bucket = concatenate_gradients(&[&computed, &loss]).unwrap();
        assert_eq!(bucket.to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
        let parts = split_gradients(&bucket, &[3, 1]).unwrap();
        let part = parts[0].to_tensor(&Tensor::zeros((1, 3), DType::F32, &device).unwrap()).unwrap();
        assert_eq!(part.to_vec2::<f32>().unwrap(), [[1.0, 2.0, 3.0]]);
        assert_eq!(parts[1].elem_count(), 1);
        let message = split_gradients(&bucket, &[3, 2]).unwrap_err().to_string();
        assert!(message.contains("expected 5 elements, found 4"), "{message}");
    }

    #[test]
    fn gradients_of_a_device_are_widened() {
        let tensor = Tensor::new(&[[1.0_f64], [2.0]], &Device::Cpu).unwrap();
        let gradients = [Gradient::from(tensor.clone()), Gradient::from(tensor.to_dtype(DType::BF16).unwrap())];
        let bucket = concatenate_gradients(&gradients.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(bucket.to_vec1::<f32>().unwrap(), [1.0, 2.0, 1.0, 2.0]);
    }
}
