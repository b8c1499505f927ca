//! A decoded image.

/// 8-bit samples, [height, width, channel]: 1 grey, 3 RGB or 4 RGBA, not premultiplied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// 1, 3 or 4.
    pub channels: usize,
    /// `height * width * channels` values.
    pub samples: Vec<u8>,
}

impl Image {
    /// One of that size, all zeros: black, transparent with four channels.
    pub fn black(width: usize, height: usize, channels: usize) -> Self {
        Self { width, height, channels, samples: vec![0; width * height * channels] }
    }

    /// The samples of one pixel.
    ///
    /// # Panics
    /// When it lies outside.
    pub fn pixel(&self, x: usize, y: usize) -> &[u8] {
        let start = (y * self.width + x) * self.channels;
        &self.samples[start..start + self.channels]
    }

    /// Copies `other`, of the same channels, with its upper left corner at (x, y). What stands out is left out.
    pub(crate) fn paste(&mut self, other: &Self, x: usize, y: usize) {
        let width = other.width.min(self.width.saturating_sub(x)) * self.channels;
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let to = ((y + row) * self.width + x) * self.channels;
            let from = row * other.width * other.channels;
            self.samples[to..to + width].copy_from_slice(&other.samples[from..from + width]);
        }
    }

    /// The part of that size whose upper left corner is at (x, y), which lies inside.
    pub(crate) fn part(&self, x: usize, y: usize, width: usize, height: usize) -> Self {
        let row = |y: usize| &self.samples[(y * self.width + x) * self.channels..][..width * self.channels];
        Self { width, height, channels: self.channels, samples: (y..y + height).flat_map(row).copied().collect() }
    }

    /// Every pixel as a square of `scale` pixels.
    pub(crate) fn enlarged(&self, scale: usize) -> Self {
        let mut samples = Vec::with_capacity(self.samples.len() * scale * scale);
        for y in 0..self.height * scale {
            for x in 0..self.width * scale {
                samples.extend_from_slice(self.pixel(x / scale, y / scale));
            }
        }
        Self { width: self.width * scale, height: self.height * scale, channels: self.channels, samples }
    }

    /// Left and right exchanged.
    pub(crate) fn mirrored(&self) -> Self {
        let row = |y: usize| (0..self.width).rev().flat_map(move |x| self.pixel(x, y));
        Self { samples: (0..self.height).flat_map(row).copied().collect(), ..*self }
    }
}
