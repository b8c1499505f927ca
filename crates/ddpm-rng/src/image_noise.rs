//! Noise for a batch of images in which every image has a stream of its own.

use candle_core::{Device, Result, Tensor};

use crate::{Purpose, Stream};

/// One stream an image. Image i of a batch that starts at `first_image` draws from the stream at position
/// `first_image + i`, so the noise of an image depends on (seed, its index) and on nothing else: sampling 64
/// images in one batch or in eight gives the same 64 images.
#[derive(Debug, Clone)]
pub struct ImageNoise {
    streams: Vec<Stream>,
    /// How many images are mixed of two streams, where they are.
    mixed: Option<usize>,
}

impl ImageNoise {
    /// The streams of `images` images, the first at position `first_image`.
    pub fn new(seed: u64, purpose: Purpose, first_image: u64, images: usize) -> Self {
        let positions = (0..images as u64).map(|i| first_image.wrapping_add(i));
        Self { streams: positions.map(|position| Stream::new(seed, purpose, position)).collect(), mixed: None }
    }

    /// Noise on the way from image `first_image` to the one after it: `images` images, each draw
    /// cos(θ) a + sin(θ) b of the two images' draws, with θ from 0 to π/2 in equal steps. Every one of them is N(0, 1), the
    /// first and the last are the noise of the two images themselves.
    pub fn between(seed: u64, purpose: Purpose, first_image: u64, images: usize) -> Self {
        let ends = Self::new(seed, purpose, first_image, 2);
        Self { mixed: Some(images), ..ends }
    }

    /// The number of images it draws for.
    pub fn images(&self) -> usize {
        self.mixed.unwrap_or(self.streams.len())
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
        if let Some(images) = self.mixed {
            let (a, b) = values.split_at(size);
            values = (0..images).flat_map(|i| mix(a, b, i as f64 / images.saturating_sub(1).max(1) as f64)).collect();
        }
        let shape: Vec<usize> = [self.images()].iter().chain(image_shape).copied().collect();
        Tensor::from_vec(values, shape, device)
    }
}

/// cos(θ) a + sin(θ) b at θ = share · π/2.
fn mix(a: &[f32], b: &[f32], share: f64) -> impl Iterator<Item = f32> {
    // At the ends the sine and cosine of π/2 are not quite 1 and 0 in floating point.
    let (of_a, of_b) = match share {
        0.0 => (1.0, 0.0),
        1.0 => (0.0, 1.0),
        share => ((share * std::f64::consts::FRAC_PI_2).cos(), (share * std::f64::consts::FRAC_PI_2).sin()),
    };
    a.iter().zip(b).map(move |(a, b)| of_a as f32 * a + of_b as f32 * b)
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
    fn the_way_between_two_images_begins_and_ends_with_them() -> Result<()> {
        let values = |t: Tensor| t.to_vec2::<f32>();
        let mut ends = ImageNoise::new(9, Purpose::SamplingNoise, 4, 2);
        let mut between = ImageNoise::between(9, Purpose::SamplingNoise, 4, 5);
        assert_eq!(between.images(), 5);
        for _ in 0..2 {
            let ends = values(ends.draw(&[1000], &Device::Cpu)?)?;
            let between = values(between.draw(&[1000], &Device::Cpu)?)?;
            assert_eq!((&between[0], &between[4]), (&ends[0], &ends[1]));
            // 1,000 squares of normals add up to 1,000 with a standard deviation of 45; the bound is five of them.
            let power: f32 = between[2].iter().map(|v| v * v).sum();
            assert!((power - 1000.0).abs() < 225.0, "{power}");
        }
        Ok(())
    }

    #[test]
    fn no_images_and_empty_images_are_empty_tensors() -> Result<()> {
        assert_eq!(ImageNoise::new(9, Purpose::SamplingNoise, 0, 0).draw(&[3], &Device::Cpu)?.dims(), [0, 3]);
        assert_eq!(ImageNoise::new(9, Purpose::SamplingNoise, 0, 2).draw(&[0], &Device::Cpu)?.dims(), [2, 0]);
        Ok(())
    }
}
