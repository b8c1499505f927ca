//! Planes cut into tiles and put together again.
//!
//! An output plane is cut into tiles of 4 × 4, numbered image by image and line by line; the input plane into windows of 6 × 6
//! around them, which overlap by two. Vectors hold one element of several tiles. A line of a tile is a quad, four numbers side
//! by side, and four vectors of quads are turned into one vector for each of the four columns; in which order the tiles then
//! lie is pulp's choice, the same everywhere.

use pulp::Simd;

/// Rows and columns of a tile of the output.
pub(crate) const SIDE: usize = 4;

/// How the planes of some images are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiling {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Tiling {
    fn rows(&self) -> usize {
        self.height.div_ceil(SIDE)
    }

    fn columns(&self) -> usize {
        self.width.div_ceil(SIDE)
    }

    /// Tiles of one plane.
    pub(crate) fn tiles_a_plane(&self) -> usize {
        self.rows() * self.columns()
    }

    /// Tiles of all images.
    pub(crate) fn tiles(&self) -> usize {
        self.images * self.tiles_a_plane()
    }

    /// A plane of one image from lines of quads, `[line of a tile][tile][4]` with `row` numbers a line, and a number added to
    /// each element.
    #[inline(always)]
    pub(crate) fn join(&self, image: usize, quads: &[f32], row: usize, bias: f32, plane: &mut [f32]) {
        let first = image * self.tiles_a_plane() * SIDE;
        let (columns, width) = (self.columns(), self.width);
        for (y, line) in plane.chunks_exact_mut(width).enumerate() {
            let at = y % SIDE * row + first + y / SIDE * columns * SIDE;
            raise(line, &quads[at..at + width], bias);
        }
    }
}

/// `to = from + added`, by single instructions for the usual widths of small planes.
#[inline(always)]
fn raise(to: &mut [f32], from: &[f32], added: f32) {
    #[inline(always)]
    fn whole<const WIDTH: usize>(to: &mut [f32], from: &[f32], added: f32) -> bool {
        match (<&mut [f32; WIDTH]>::try_from(to), <&[f32; WIDTH]>::try_from(from)) {
            (Ok(to), Ok(from)) => {
                to.iter_mut().zip(from).for_each(|(to, value)| *to = value + added);
                true
            }
            _ => false,
        }
    }
    if whole::<4>(to, from, added) || whole::<8>(to, from, added) || whole::<16>(to, from, added) {
        return;
    }
    to.iter_mut().zip(from).for_each(|(to, value)| *to = value + added);
}

/// The planes of one channel of some images with zeros around them, and where their tiles begin.
#[derive(Debug)]
pub(crate) struct Frame {
    tiling: Tiling,
    /// Zeros above and left of each plane.
    lead: usize,
    /// From line to line.
    pitch: usize,
    /// From image to image.
    image: usize,
    /// For each tile, where its window begins; past the last tile, where there are zeros.
    starts: Vec<usize>,
}

impl Frame {
    /// A frame for windows where `lead` is 1, for tiles where it is 0, with starts for `padded` tiles.
    pub(crate) fn new(tiling: Tiling, lead: usize, padded: usize) -> Self {
        let pitch = (tiling.columns() + 1) * SIDE;
        let image = (tiling.rows() * SIDE + 2 * lead) * pitch;
        let (columns, tiles) = (tiling.columns(), tiling.tiles_a_plane());
        let start = |tile: usize| {
            let (of_image, tile) = (tile / tiles, tile % tiles);
            of_image * image + tile / columns * SIDE * pitch + tile % columns * SIDE
        };
        let zeros = tiling.images * image;
        let starts = (0..padded).map(|tile| if tile < tiling.tiles() { start(tile) } else { zeros }).collect();
        Self { tiling, lead, pitch, image, starts }
    }

    /// Elements of the frame: all planes, and a window of zeros that also serves vectors past the end of a window.
    pub(crate) fn len(&self) -> usize {
        self.tiling.images * self.image + 6 * self.pitch + 64
    }

    /// Writes one plane into a frame that holds zeros or an earlier channel.
    #[inline(always)]
    pub(crate) fn set(&self, frame: &mut [f32], image: usize, plane: &[f32]) {
        let width = self.tiling.width;
        let first = image * self.image + self.lead * (self.pitch + 1);
        for (y, line) in plane.chunks_exact(width).enumerate() {
            raise(&mut frame[first + y * self.pitch..][..width], line, 0.0);
        }
    }

    /// Columns `column` to `column + 3` of line `line` of as many tiles from `tile` on as a vector has lanes.
    #[inline(always)]
    pub(crate) fn quads<S: Simd>(
        &self,
        simd: S,
        frame: &[f32],
        tile: usize,
        (line, column): (usize, usize),
    ) -> [S::f32s; 4] {
        let lanes = S::F32_LANES;
        let starts = &self.starts[tile..tile + lanes];
        let offset = line * self.pitch + column;
        let mut quads = [simd.splat_f32s(0.0); 4];
        if lanes <= SIDE || self.tiling.columns().is_multiple_of(lanes / SIDE) {
            for (i, quads) in quads.iter_mut().enumerate() {
                let start = starts[i * lanes / SIDE] + i * lanes % SIDE + offset;
                *quads = S::as_simd_f32s(&frame[start..start + lanes]).0[0];
            }
        } else {
            let mut staged = [0.0; 16 * SIDE];
            for (to, start) in staged.chunks_exact_mut(SIDE).zip(starts) {
                to.copy_from_slice(&frame[start + offset..][..SIDE]);
            }
            for (quads, staged) in quads.iter_mut().zip(S::as_simd_f32s(&staged).0) {
                *quads = *staged;
            }
        }
        simd.deinterleave_shfl_f32s(quads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_come_back_together() {
        struct Run(Tiling);
        impl pulp::WithSimd for Run {
            type Output = ();

            fn with_simd<S: Simd>(self, simd: S) {
                let Tiling { images, height, width } = self.0;
                let padded = self.0.tiles().next_multiple_of(16);
                let frame = Frame::new(self.0, 0, padded);
                let mut values = vec![0.0; frame.len()];
                let plane = |image: usize| -> Vec<f32> {
                    (0..height * width).map(|i| (1 + i + image * height * width) as f32).collect()
                };
                (0..images).for_each(|image| frame.set(&mut values, image, &plane(image)));
                let row = padded * SIDE;
                let mut quads = vec![0.0; SIDE * row];
                for tile in (0..padded).step_by(S::F32_LANES) {
                    for line in 0..SIDE {
                        let turned = simd.interleave_shfl_f32s(frame.quads(simd, &values, tile, (line, 0)));
                        let to = S::as_mut_simd_f32s(&mut quads[line * row + tile * SIDE..]).0;
                        to[..4].copy_from_slice(&turned);
                    }
                }
                for image in 0..images {
                    let mut joined = vec![0.0; height * width];
                    self.0.join(image, &quads, row, 1.0, &mut joined);
                    let expected: Vec<f32> = plane(image).iter().map(|v| v + 1.0).collect();
                    assert_eq!(joined, expected, "image {image} of {:?}", self.0);
                }
            }
        }
        for (images, height, width) in [(1, 4, 4), (3, 8, 8), (2, 5, 7), (1, 16, 32), (5, 1, 1), (2, 6, 12), (1, 3, 40)]
        {
            pulp::Arch::new().dispatch(Run(Tiling { images, height, width }));
            Run(Tiling { images, height, width }).with_simd_scalar();
        }
        impl Run {
            fn with_simd_scalar(self) {
                pulp::WithSimd::with_simd(self, pulp::Scalar::new());
            }
        }
    }
}
