//! The same products in plain code, slowly: so that what feeds the tiles is tested on every machine.

use super::{Factor, Onto, Parts, Product, TILE};

/// Of a factor's parts, those that one instruction each multiplies, in the order of `instructions.rs`: the small terms first.
const OF_THREE: [(usize, usize); 6] = [(0, 2), (0, 1), (0, 0), (2, 0), (1, 0), (1, 1)];
const OF_TWO: [(usize, usize); 3] = [(0, 1), (0, 0), (1, 0)];

type Tile = [[f32; 2 * TILE]; TILE];

#[allow(clippy::too_many_arguments, reason = "the arguments of a product of tiles")]
pub(super) fn multiply<A: Parts, B: Parts, const PARTS: usize>(
    a: &Factor<'_, A, PARTS>,
    a_first: usize,
    a_step: usize,
    b: &Factor<'_, B, PARTS>,
    b_first: usize,
    b_offsets: &[usize],
    out: Product<'_>,
    onto: Onto<'_>,
) {
    let products = if PARTS == 3 { &OF_THREE[..] } else { &OF_TWO[..] };
    for down in 0..2 {
        for right in 0..2 {
            let at = |row: usize| out.first + (down * TILE + row) * out.row + right * out.next;
            let mut sums: [[f32; TILE]; TILE] = std::array::from_fn(|row| match onto {
                Onto::Zero => [0.0; TILE],
                Onto::Output => std::array::from_fn(|column| out.values[at(row) + column]),
                Onto::Rows(rows) => std::array::from_fn(|column| rows[(down * TILE + row) * TILE + column]),
            });
            for (step, offset) in b_offsets.iter().enumerate() {
                let a_at = a_first + (step * a_step + down * a.next) * size_of::<A>();
                let b_at = b_first + offset + right * b.next * size_of::<B>();
                for (part_a, part_b) in products {
                    let left = tile(a.parts[*part_a], a_at, a.row);
                    let right = tile(b.parts[*part_b], b_at, b.row);
                    add_product(&mut sums, &left, &right);
                }
            }
            for (row, sums) in sums.iter().enumerate() {
                out.values[at(row)..][..TILE].copy_from_slice(sums);
            }
        }
    }
}

/// The 16 × 32 bf16 that begin at byte `first`, rows `row` elements apart.
fn tile<T: Parts>(part: &[T], first: usize, row: usize) -> Tile {
    const BF16: usize = 2;
    let start = |r: usize| (first + r * row * size_of::<T>()) / BF16;
    std::array::from_fn(|r| std::array::from_fn(|i| f32::from_bits(u32::from(T::bf16(part, start(r) + i)) << 16)))
}

/// TDPBF16PS (Intel SDM, volume 2): the pairs of a row of `a` with those of a column of `b`.
fn add_product(sums: &mut [[f32; TILE]; TILE], a: &Tile, b: &Tile) {
    for (sums, a) in sums.iter_mut().zip(a) {
        for (pair, b) in a.chunks_exact(2).zip(b) {
            for (sum, b) in sums.iter_mut().zip(b.chunks_exact(2)) {
                *sum += pair[0] * b[0] + pair[1] * b[1];
            }
        }
    }
}
