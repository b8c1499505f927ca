//! Images of one channel laid end to end with zeros between them, so that a shifted image is a shifted slice.

use crate::cpu::geometry::Geometry;

/// Positions that one run of the inner loops should have: enough that the weights, which each run reads once, stay a small
/// part of what it reads; few enough that its planes stay in the second-level cache.
const POSITIONS: usize = 512;

/// The number of images that are computed together, of `images` divided over `threads`.
pub(crate) fn images_of_positions(geometry: &Geometry, images: usize, threads: usize) -> usize {
    POSITIONS.div_ceil(padded(geometry, 1).positions().max(1)).min(images.div_ceil(threads)).max(1)
}

/// The padded planes of `images` images of a convolution.
pub(crate) fn padded(geometry: &Geometry, images: usize) -> PaddedPlanes {
    let (Geometry { height, width, .. }, padding) = (*geometry, geometry.padding());
    // Without padding an image is one long line, and lines follow one another without a gap.
    let (height, width) = if padding == 0 { (1, height * width) } else { (height, width) };
    PaddedPlanes { images, height, width, padding }
}

/// A row of zeros' worth of padding is shared: the zeros right of a line are those left of the next, the zeros below an image
/// those above the next. The taps of a convolution are then offsets, whatever the position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaddedPlanes {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) padding: usize,
}

impl PaddedPlanes {
    /// From the start of a line to the start of the next.
    pub(crate) fn pitch(&self) -> usize {
        self.width + self.padding
    }

    /// Where the line `y` of an image begins, counted from the first one's first.
    pub(crate) fn line(&self, image: usize, y: usize) -> usize {
        (image * (self.height + self.padding) + y) * self.pitch()
    }

    /// The zeros before the first element. The tap (ky, kx) of the position p then reads element p + ky · pitch + kx.
    pub(crate) fn lead(&self) -> usize {
        self.padding * self.pitch() + self.padding
    }

    /// How many positions there are from the first to the last element, zeros between them included.
    pub(crate) fn positions(&self) -> usize {
        if self.images == 0 { 0 } else { self.line(self.images - 1, self.height - 1) + self.width }
    }

    /// The taps of a square kernel of side 2 · padding + 1, in the order of its rows.
    pub(crate) fn taps(&self) -> impl Iterator<Item = usize> + use<> {
        let (side, pitch) = (2 * self.padding + 1, self.pitch());
        (0..side * side).map(move |tap| tap / side * pitch + tap % side)
    }

    /// Elements of a plane which is read at every tap from up to `overrun` positions more than there are.
    pub(crate) fn len(&self, overrun: usize) -> usize {
        self.positions() + overrun + 2 * self.lead()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tap_of_every_position_reads_its_neighbour_or_zero() {
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
