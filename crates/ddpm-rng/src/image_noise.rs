//! Noise for a batch of images, in which each image has its own random stream.

use candle_core::{Device, Result, Tensor};

use crate::{Purpose, Stream};

/// A batch of random streams, one per image. Image i of the batch draws from the stream at position `first_image + i`,
/// so its noise depends on the seed and its index alone: 64 images in one batch or in eight have the same noise.
///
/// # Examples
/// ```
/// use candle_core::Device;
/// use ddpm_rng::{ImageNoise, Purpose};
///
/// let mut noise = ImageNoise::new(0, Purpose::SamplingNoise, 0, 4);
/// let latents = noise.draw(&[3, 8, 8], &Device::Cpu)?;
/// assert_eq!(latents.dims(), [4, 3, 8, 8]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageNoise {
    streams: Vec<Stream>,
    /// The number of images if they are interpolated between the two streams.
    interpolated: Option<usize>,
}

impl ImageNoise {
    /// The noise of `images` images with consecutive positions, starting with `first_image`.
    pub fn new(seed: u64, purpose: Purpose, first_image: u64, images: usize) -> Self {
        let positions = (0..images as u64).map(|i| first_image.wrapping_add(i));
        Self { streams: positions.map(|position| Stream::new(seed, purpose, position)).collect(), interpolated: None }
    }

    /// Noise for `images` images between image `first_image` and the next one. Each draw is cos(θ) a + sin(θ) b of the
    /// draws a and b of these two images, with θ from 0 to π/2 in equal steps. Every draw is N(0, 1) distributed; the
    /// first and the last image have the noise of the two images themselves.
    pub fn interpolated(seed: u64, purpose: Purpose, first_image: u64, images: usize) -> Self {
        let ends = Self::new(seed, purpose, first_image, 2);
        Self { interpolated: Some(images), ..ends }
    }

    /// The number of images of a draw.
    pub fn images(&self) -> usize {
        self.interpolated.unwrap_or(self.streams.len())
    }

    /// The next draws from N(0, 1) of all images.
    ///
    /// # Shapes
    /// `image_shape` is the shape of one image, for example [channel, height, width]. The result is [image,
    /// ..image_shape] in f32.
    ///
    /// # Errors
    /// If the memory of the device is exhausted.
    pub fn draw(&mut self, image_shape: &[usize], device: &Device) -> Result<Tensor> {
        let size: usize = image_shape.iter().product();
        let mut values = vec![0.0; size * self.streams.len()];
        if size > 0 {
            for (stream, image) in self.streams.iter_mut().zip(values.chunks_exact_mut(size)) {
                stream.fill_normal(image);
            }
        }
        if let Some(images) = self.interpolated {
            let (a, b) = values.split_at(size);
            values = (0..images).flat_map(|i| slerp(a, b, i as f64 / images.saturating_sub(1).max(1) as f64)).collect();
        }
        let shape: Vec<usize> = [self.images()].iter().chain(image_shape).copied().collect();
        Tensor::from_vec(values, shape, device)
    }
}

/// Spherical interpolation cos(θ) a + sin(θ) b at θ = `fraction` · π/2.
fn slerp(a: &[f32], b: &[f32], fraction: f64) -> impl Iterator<Item = f32> {
    // The floating-point cosine of π/2 is not exactly 0, so the end is a case of its own.
    let (a_coef, b_coef) = match fraction {
        0.0 => (1.0, 0.0),
        1.0 => (0.0, 1.0),
        fraction => ((fraction * std::f64::consts::FRAC_PI_2).cos(), (fraction * std::f64::consts::FRAC_PI_2).sin()),
    };
    a.iter().zip(b).map(move |(a, b)| a_coef as f32 * a + b_coef as f32 * b)
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
    fn interpolated_noise_begins_and_ends_with_the_noise_of_two_images() -> Result<()> {
        let values = |t: Tensor| t.to_vec2::<f32>();
        let mut ends = ImageNoise::new(9, Purpose::SamplingNoise, 4, 2);
        let mut interpolated = ImageNoise::interpolated(9, Purpose::SamplingNoise, 4, 5);
        assert_eq!(interpolated.images(), 5);
        for _ in 0..2 {
            let ends = values(ends.draw(&[1000], &Device::Cpu)?)?;
            let interpolated = values(interpolated.draw(&[1000], &Device::Cpu)?)?;
            assert_eq!((&interpolated[0], &interpolated[4]), (&ends[0], &ends[1]));
            // The sum of 1,000 squared normals has mean 1,000 and standard deviation 45. The bound is five of them.
            let power: f32 = interpolated[2].iter().map(|v| v * v).sum();
            assert!((power - 1000.0).abs() < 225.0, "{power}");
        }
        Ok(())
    }

    #[test]
    fn draws_without_images_or_elements_are_empty_tensors() -> Result<()> {
        assert_eq!(ImageNoise::new(9, Purpose::SamplingNoise, 0, 0).draw(&[3], &Device::Cpu)?.dims(), [0, 3]);
        assert_eq!(ImageNoise::new(9, Purpose::SamplingNoise, 0, 2).draw(&[0], &Device::Cpu)?.dims(), [2, 0]);
        Ok(())
    }
}
