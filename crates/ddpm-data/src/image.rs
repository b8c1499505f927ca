//! An image in memory, with 8-bit samples.

/// An image with 8-bit samples in the order [height, width, channel].
///
/// One channel is gray, three are RGB, four are RGBA with straight (not premultiplied) alpha.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The width in pixels.
    pub width: usize,
    /// The height in pixels.
    pub height: usize,
    /// The number of channels: 1, 3 or 4.
    pub channels: usize,
    /// The samples, `height * width * channels` of them.
    pub samples: Vec<u8>,
}

impl Image {
    /// An image whose samples are all zero: black, and transparent if there are four channels.
    pub fn zeros(width: usize, height: usize, channels: usize) -> Self {
        Self { width, height, channels, samples: vec![0; width * height * channels] }
    }

    /// The samples of the pixel in column `x` and row `y`.
    ///
    /// # Panics
    /// If the pixel lies outside of the image.
    pub fn pixel(&self, x: usize, y: usize) -> &[u8] {
        let start = (y * self.width + x) * self.channels;
        &self.samples[start..start + self.channels]
    }

    /// Copies `other`, which has the same number of channels, so that its upper left corner is at (x, y). Pixels that
    /// would lie outside of this image are not copied.
    pub(crate) fn paste(&mut self, other: &Self, x: usize, y: usize) {
        let width = other.width.min(self.width.saturating_sub(x)) * self.channels;
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let to = ((y + row) * self.width + x) * self.channels;
            let from = row * other.width * other.channels;
            self.samples[to..to + width].copy_from_slice(&other.samples[from..from + width]);
        }
    }

    /// The rectangle of the given size whose upper left corner is at (x, y). It must lie inside of the image.
    pub(crate) fn crop(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        let row = |y: usize| &self.samples[(y * self.width + x) * self.channels..][..width * self.channels];
        Self { width, height, channels: self.channels, samples: (y..y + height).flat_map(row).copied().collect() }
    }

    /// Nearest-neighbor upsampling: every pixel becomes a square of `scale` × `scale` pixels.
    ///
    /// # Panics
    /// If the result does not fit into memory.
    pub fn upsampled(&self, scale: usize) -> Self {
        let mut samples = Vec::with_capacity(self.samples.len() * scale * scale);
        for y in 0..self.height * scale {
            for x in 0..self.width * scale {
                samples.extend_from_slice(self.pixel(x / scale, y / scale));
            }
        }
        Self { width: self.width * scale, height: self.height * scale, channels: self.channels, samples }
    }

    /// The image with left and right exchanged.
    pub(crate) fn flipped_horizontally(&self) -> Self {
        let row = |y: usize| (0..self.width).rev().flat_map(move |x| self.pixel(x, y));
        Self { samples: (0..self.height).flat_map(row).copied().collect(), ..*self }
    }
}
