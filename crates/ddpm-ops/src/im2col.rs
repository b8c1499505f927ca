//! The lowering of a convolution to a matrix product: every window of the input as a column.

use std::ops::Range;

/// The shapes of one two-dimensional convolution with stride 1 and a square kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernel: usize,
    pub(crate) padding: usize,
}

impl Geometry {
    pub(crate) fn height_out(&self) -> usize {
        self.height + 2 * self.padding + 1 - self.kernel
    }

    pub(crate) fn width_out(&self) -> usize {
        self.width + 2 * self.padding + 1 - self.kernel
    }

    /// Elements of one input image.
    pub(crate) fn image_in(&self) -> usize {
        self.channels_in * self.height * self.width
    }

    /// Positions of one output plane: the columns that one image contributes.
    pub(crate) fn plane_out(&self) -> usize {
        self.height_out() * self.width_out()
    }

    /// Elements of one output image.
    pub(crate) fn image_out(&self) -> usize {
        self.channels_out * self.plane_out()
    }

    /// Elements of one window: the rows of the lowered matrix.
    pub(crate) fn window(&self) -> usize {
        self.channels_in * self.kernel * self.kernel
    }

    /// Whether the input planes are the lowered matrix as they stand.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.padding == 0
    }
}

/// Lowers `images` images, [image, channel, height, width], to `columns`, [channel, ky, kx, image, y, x]: row-major,
/// `window` rows of `images * plane_out` columns.
pub(crate) fn im2col(geometry: &Geometry, images: usize, input: &[f32], columns: &mut [f32]) {
    let Geometry { channels_in, height, width, kernel, padding, .. } = *geometry;
    let (height_out, width_out) = (geometry.height_out(), geometry.width_out());
    let plane = height * width;
    let mut rows = columns.chunks_exact_mut(images * height_out * width_out);
    for channel in 0..channels_in {
        for ky in 0..kernel {
            let ys = inside(ky, padding, height, height_out);
            for kx in 0..kernel {
                let xs = inside(kx, padding, width, width_out);
                let Some(row) = rows.next() else { return };
                if ys.is_empty() || xs.is_empty() {
                    row.fill(0.0);
                    continue;
                }
                for (image, row) in row.chunks_exact_mut(height_out * width_out).enumerate() {
                    let start = (image * channels_in + channel) * plane;
                    let source = &input[start..start + plane];
                    row[..ys.start * width_out].fill(0.0);
                    row[ys.end * width_out..].fill(0.0);
                    for y in ys.clone() {
                        let line = &mut row[y * width_out..(y + 1) * width_out];
                        line[..xs.start].fill(0.0);
                        line[xs.end..].fill(0.0);
                        let from = (y + ky - padding) * width + xs.start + kx - padding;
                        line[xs.clone()].copy_from_slice(&source[from..from + xs.len()]);
                    }
                }
            }
        }
    }
}

/// The output positions whose input position `position + offset - padding` lies in `0..size`.
fn inside(offset: usize, padding: usize, size: usize, size_out: usize) -> Range<usize> {
    let start = padding.saturating_sub(offset).min(size_out);
    let end = (size + padding).saturating_sub(offset).min(size_out);
    start..end.max(start)
}
