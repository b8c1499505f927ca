//! The division of planes into tiles.

use crate::cpu::conv2d::blocked_layout::BlockedLayout;
use crate::cpu::conv2d::winograd::transforms::{POINTS, TILE_SIDE};
use crate::cpu::geometry::Geometry;
use crate::cpu::micro_kernel::PANEL;

/// The tiles of the planes of some images, numbered image by image and row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    pub(super) images: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Tiling {
    pub(super) fn new(geometry: &Geometry, images: usize) -> Self {
        Self { images, height: geometry.height, width: geometry.width }
    }

    fn rows(&self) -> usize {
        self.height.div_ceil(TILE_SIDE)
    }

    fn columns(&self) -> usize {
        self.width.div_ceil(TILE_SIDE)
    }

    /// The number of tiles of all images.
    pub(super) fn tiles(&self) -> usize {
        self.images * self.rows() * self.columns()
    }

    /// The number of tiles, rounded up to whole panels.
    pub(super) fn padded_tiles(&self) -> usize {
        self.tiles().next_multiple_of(PANEL)
    }

    /// The layout of planes that are extended to whole tiles, with `border` positions of zeros around each plane.
    pub(super) fn layout(&self, border: usize) -> BlockedLayout {
        let line_stride = self.columns() * TILE_SIDE + 2 * border;
        let image_stride = (self.rows() * TILE_SIDE + 2 * border) * line_stride;
        let Self { images, height, width } = *self;
        BlockedLayout { images, height, width, first: border * (line_stride + 1), line_stride, image_stride }
    }

    /// The index in `layout` of the first position of each tile, or of each window if there is a border.
    pub(super) fn starts(&self, layout: BlockedLayout) -> impl Iterator<Item = usize> {
        let (rows, columns) = (self.rows(), self.columns());
        (0..self.images).flat_map(move |image| {
            (0..rows * columns).map(move |tile| {
                image * layout.image_stride + (tile / columns * layout.line_stride + tile % columns) * TILE_SIDE
            })
        })
    }

    /// The distance from one point to the next in the transformed tiles of a channel block, [point][tile][16]. It is an
    /// odd number of cache lines, because a power of two would place all points in one set of the cache.
    pub(super) fn point_stride(&self) -> usize {
        self.padded_tiles() * PANEL + PANEL
    }

    /// The distance from one channel block to the next.
    pub(super) fn block_stride(&self) -> usize {
        POINTS * self.point_stride()
    }
}
