//! Images of one channel one after another with zeros between them, so that a shifted image is a shifted slice.
//!
//! A convolution that reads its input in this layout needs no im2col: for every tap, the inputs of all positions are
//! one slice, and the taps differ only in where that slice starts.

use crate::cpu::geometry::Geometry;

/// The layout of the padded planes of one channel of some images.
///
/// Padding is shared: the zeros to the right of a line are those to the left of the next, and the zeros below an image
/// are those above the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaddedPlanes {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The number of zeros on each side.
    pub(crate) padding: usize,
}

impl PaddedPlanes {
    /// The padded planes of `images` images of a convolution.
    pub(crate) fn new(geometry: &Geometry, images: usize) -> Self {
        let (Geometry { height, width, .. }, padding) = (*geometry, geometry.padding());
        // Without padding, lines follow one another without a gap, so an image is treated as one long line.
        let (height, width) = if padding == 0 { (1, height * width) } else { (height, width) };
        Self { images, height, width, padding }
    }

    /// The number of images that are convolved together, of `images` images divided among `threads` threads.
    pub(crate) fn images_together(geometry: &Geometry, images: usize, threads: usize) -> usize {
        /// The desired number of positions of one call. With so many, the weights, which every call reads once, are a
        /// small part of what it reads; with not many more, the packed planes still fit into the second-level cache.
        const POSITIONS: usize = 512;
        let positions = Self::new(geometry, 1).positions();
        POSITIONS.div_ceil(positions.max(1)).min(images.div_ceil(threads)).max(1)
    }

    /// The distance from one line to the next.
    pub(crate) fn line_stride(&self) -> usize {
        self.width + self.padding
    }

    /// The index of the first position of line `y` of an image.
    pub(crate) fn line(&self, image: usize, y: usize) -> usize {
        (image * (self.height + self.padding) + y) * self.line_stride()
    }

    /// The number of zeros before position 0. Tap (ky, kx) of position p then reads element `p + ky · line_stride +
    /// kx`.
    pub(crate) fn lead(&self) -> usize {
        self.padding * self.line_stride() + self.padding
    }

    /// The number of positions from the first to the last, including the zeros between them.
    pub(crate) fn positions(&self) -> usize {
        if self.images == 0 { 0 } else { self.line(self.images - 1, self.height - 1) + self.width }
    }

    /// The offsets of the taps of a square kernel of side 2 · padding + 1, row by row.
    pub(crate) fn taps(&self) -> impl Iterator<Item = usize> + use<> {
        let (side, line_stride) = (2 * self.padding + 1, self.line_stride());
        (0..side * side).map(move |tap| tap / side * line_stride + tap % side)
    }

    /// The number of elements of one channel, if every tap is read at up to `overrun` positions beyond the last.
    pub(crate) fn len(&self, overrun: usize) -> usize {
        self.positions() + overrun + 2 * self.lead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tap_of_every_position_reads_its_neighbor_or_zero() {
        let planes = PaddedPlanes { images: 3, height: 2, width: 4, padding: 1 };
        let mut plane = vec![0; planes.len(0)];
        let value = |image: usize, y: usize, x: usize| 1 + (image * 2 + y) * 4 + x;
        for (image, y, x) in (0..24).map(|i| (i / 8, i / 4 % 2, i % 4)) {
            plane[planes.lead() + planes.line(image, y) + x] = value(image, y, x);
        }
        for (image, y, x) in (0..24).map(|i| (i / 8, i / 4 % 2, i % 4)) {
            for (tap, offset) in planes.taps().enumerate() {
                let (ny, nx) = ((y + tap / 3).wrapping_sub(1), (x + tap % 3).wrapping_sub(1));
                let expected = if ny < 2 && nx < 4 { value(image, ny, nx) } else { 0 };
                assert_eq!(plane[planes.line(image, y) + x + offset], expected, "{image} {y} {x} tap {tap}");
            }
        }
        assert_eq!(planes.positions(), planes.line(2, 1) + 4);
    }
}
