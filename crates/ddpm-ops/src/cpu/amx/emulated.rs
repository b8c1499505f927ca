//! Products of tiles in plain code. They are slow, and let every machine test the code that packs operands for the
//! tiles.

use crate::cpu::amx::operands::{Bf16Storage, Factor, Initial, OutputBlock, TILE};

/// The pairs of parts that are multiplied, in the order in which `instructions.rs` multiplies them.
const OF_THREE: [(usize, usize); 6] = [(0, 2), (0, 1), (0, 0), (2, 0), (1, 0), (1, 1)];
const OF_TWO: [(usize, usize); 3] = [(0, 1), (0, 0), (1, 0)];

/// A tile of bf16, widened to f32.
type Tile = [[f32; 2 * TILE]; TILE];

/// Computes `initial` + a b over all steps. `a_first`, `b_first` and `b_offsets` are in bytes, `a_step` in elements.
#[allow(clippy::too_many_arguments, reason = "the arguments of a product of tiles")]
pub(super) fn multiply<A: Bf16Storage, B: Bf16Storage, const PARTS: usize>(
    a: &Factor<'_, A, PARTS>,
    a_first: usize,
    a_step: usize,
    b: &Factor<'_, B, PARTS>,
    b_first: usize,
    b_offsets: &[usize],
    out: OutputBlock<'_>,
    initial: Initial<'_>,
) {
    let products = if PARTS == 3 { &OF_THREE[..] } else { &OF_TWO[..] };
    for down in 0..2 {
        for right in 0..2 {
            let at = |row: usize| out.first + (down * TILE + row) * out.row_stride + right * out.tile_stride;
            let mut sums: [[f32; TILE]; TILE] = std::array::from_fn(|row| match initial {
                Initial::Zero => [0.0; TILE],
                Initial::Output => std::array::from_fn(|column| out.values[at(row) + column]),
                Initial::Rows(rows) => std::array::from_fn(|column| rows[(down * TILE + row) * TILE + column]),
            });
            for (step, offset) in b_offsets.iter().enumerate() {
                let a_at = a_first + (step * a_step + down * a.tile_stride) * size_of::<A>();
                let b_at = b_first + offset + right * b.tile_stride * size_of::<B>();
                for (part_a, part_b) in products {
                    let left = tile(a.parts[*part_a], a_at, a.row_stride);
                    let right = tile(b.parts[*part_b], b_at, b.row_stride);
                    add_product(&mut sums, &left, &right);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                out.values[at(row)..][..TILE].copy_from_slice(sums);
            }
        }
    }
}

/// The 16 × 32 bf16 that start at byte `first`, with rows `row_stride` elements apart.
fn tile<T: Bf16Storage>(part: &[T], first: usize, row_stride: usize) -> Tile {
    const BF16: usize = 2;
    let start = |r: usize| (first + r * row_stride * size_of::<T>()) / BF16;
    std::array::from_fn(|r| std::array::from_fn(|i| f32::from_bits(u32::from(T::bf16(part, start(r) + i)) << 16)))
}

/// The instruction TDPBF16PS (Intel SDM, volume 2): adds the products of the pairs in the rows of `a` with the pairs in
/// the columns of `b`.
fn add_product(sums: &mut [[f32; TILE]; TILE], a: &Tile, b: &Tile) {
    for (sums, a) in sums.iter_mut().zip(a) {
        for (pair, b) in a.chunks_exact(2).zip(b) {
            for (sum, b) in sums.iter_mut().zip(b.chunks_exact(2)) {
                *sum += pair[0] * b[0] + pair[1] * b[1];
            }
        }
    }
}
