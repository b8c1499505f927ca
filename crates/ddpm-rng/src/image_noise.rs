//! Noise for a batch of images in which every image has a stream of its own.

use candle_core::{Device, Result, Tensor};

use crate::{Purpose, Stream};

/// One stream an image. Image i of a batch that starts at `first_image` draws from the stream at position
/// `first_image + i`, so the noise of an image depends on (seed, its index) and on nothing else: sampling 64
/// images in one batch or in eight gives the same 64 images.
#[derive(Debug, Clone)]
pub struct ImageNoise {
    streams: Vec<Stream>,
}

impl ImageNoise {
    /// The streams of `images` images, the first at position `first_image`.
    pub fn new(seed: u64, purpose: Purpose, first_image: u64, images: usize) -> Self {
        let positions = (0..images as u64).map(|i| first_image.wrapping_add(i));
        Self { streams: positions.map(|position| Stream::new(seed, purpose, position)).collect() }
    }

    /// The same stream, that of image `image`, for each of `images` images: all of them get its noise.
    pub fn shared(seed: u64, purpose: Purpose, image: u64, images: usize) -> Self {
        Self { streams: vec![Stream::new(seed, purpose, image); images] }
    }

    /// The number of images it draws for.
    pub fn images(&self) -> usize {
        self.streams.len()
    }

    /// The next draws from N(0, 1) of every image.
    ///
    /// # Shapes
    /// `image_shape` is that of one image, for example [channel, height, width]; the result is f32
    /// [image, ..image_shape].
    ///
    /// # Errors
    /// When the device has no room for it.
    pub fn draw(&mut self, image_shape: &[usize], device: &Device) -> Result<Tensor> {
        let size: usize = image_shape.iter().product();
        let mut values = vec![0.0; size * self.streams.len()];
        if size > 0 {
            for (stream, image) in self.streams.iter_mut().zip(values.chunks_exact_mut(size)) {
                stream.fill_normal(image);
            }
        }
        let shape: Vec<usize> = [self.streams.len()].iter().chain(image_shape).copied().collect();
        Tensor::from_vec(values, shape, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_does_not_depend_on_its_batch() -> Result<()> {
        let shape = [1, 2, 3];
        let mut whole = ImageNoise::new(9, Purpose::SamplingNoise, 0, 5);
        let mut part = ImageNoise::new(9, Purpose::SamplingNoise, 3, 2);
        for _ in 0..3 {
            let whole = whole.draw(&shape, &Device::Cpu)?.narrow(0, 3, 2)?;
            let part = part.draw(&shape, &Device::Cpu)?;
            assert_eq!(whole.flatten_all()?.to_vec1::<f32>()?, part.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }

    #[test]
    fn images_and_steps_differ() -> Result<()> {
        let mut noise = ImageNoise::new(9, Purpose::SamplingNoise, 0, 2);
        let first = noise.draw(&[4], &Device::Cpu)?.to_vec2::<f32>()?;
        let second = noise.draw(&[4], &Device::Cpu)?.to_vec2::<f32>()?;
        assert_ne!(first[0], first[1]);
        assert_ne!(first[0], second[0]);
        Ok(())
    }

    #[test]
    fn no_images_and_empty_images_are_empty_tensors() -> Result<()> {
        assert_eq!(ImageNoise::new(9, Purpose::SamplingNoise, 0, 0).draw(&[3], &Device::Cpu)?.dims(), [0, 3]);
        assert_eq!(ImageNoise::new(9, Purpose::SamplingNoise, 0, 2).draw(&[0], &Device::Cpu)?.dims(), [2, 0]);
        Ok(())
    }
}
