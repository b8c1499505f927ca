//! Transposition of blocks of 8 × 8 f32 with the shuffle instructions of the machine.

use pulp::{Arch, Simd, WithSimd};

/// The number of rows and columns of a block.
pub(crate) const BLOCK_SIDE: usize = 8;

/// A block, row by row.
pub(crate) type Block = [[f32; BLOCK_SIDE]; BLOCK_SIDE];

/// Instructions that transpose a block.
pub(crate) trait Transpose8x8: Copy {
    /// `columns[column][row] = rows[row][column]`
    // The blocks are passed by reference because a call copies arrays of this size when they are passed by value.
    fn transpose(self, rows: &Block, columns: &mut Block);
}

/// Work that transposes many blocks.
pub(crate) trait WithTranspose {
    /// Does the work. The implementation is inlined into a function that is compiled for the instructions of
    /// `transpose`.
    fn with_transpose<T: Transpose8x8>(self, transpose: T);
}

/// Does `work` with the instructions of this machine.
pub(crate) fn dispatch(work: impl WithTranspose) {
    struct Call<W, T>(W, T);

    impl<W: WithTranspose, T: Transpose8x8> WithSimd for Call<W, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            self.0.with_transpose(self.1);
        }
    }

    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => Simd::vectorize(simd, Call(work, simd)),
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => Simd::vectorize(simd, Call(work, *simd)),
        arch => arch.dispatch(Call(work, Scalar)),
    }
}

/// Transposition element by element, which compilers handle well where vectors are short.
#[derive(Clone, Copy)]
struct Scalar;

impl Transpose8x8 for Scalar {
    #[inline(always)]
    fn transpose(self, rows: &Block, columns: &mut Block) {
        for (i, row) in rows.iter().enumerate() {
            for (column, value) in columns.iter_mut().zip(row) {
                column[i] = *value;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Transpose8x8 for pulp::x86::V3 {
    #[inline(always)]
    fn transpose(self, rows: &Block, columns: &mut Block) {
        use std::arch::x86_64::__m256;

        let avx = self.avx;
        macro_rules! lines {
            ($($row:literal)*) => { [$({ let row: __m256 = pulp::cast(rows[$row]); row }),*] };
        }
        let r = lines!(0 1 2 3 4 5 6 7);
        // Each stage interleaves rows: first pairs of elements, then groups of four, then groups of eight.
        macro_rules! pairs {
            ($($row:literal)*) => {
                [$(avx._mm256_unpacklo_ps(r[$row], r[$row + 1]), avx._mm256_unpackhi_ps(r[$row], r[$row + 1])),*]
            };
        }
        let p = pairs!(0 2 4 6);
        macro_rules! fours {
            ($($row:literal)*) => {
                [$(
                    avx._mm256_shuffle_ps::<0x44>(p[$row], p[$row + 2]),
                    avx._mm256_shuffle_ps::<0xee>(p[$row], p[$row + 2])
                ),*]
            };
        }
        let f = fours!(0 1 4 5);
        for row in 0..4 {
            columns[row] = pulp::cast(avx._mm256_permute2f128_ps::<0x20>(f[row], f[row + 4]));
            columns[row + 4] = pulp::cast(avx._mm256_permute2f128_ps::<0x31>(f[row], f[row + 4]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;

    impl WithTranspose for Check {
        fn with_transpose<T: Transpose8x8>(self, transpose: T) {
            let mut rows = [[0.0; BLOCK_SIDE]; BLOCK_SIDE];
            (0..64).for_each(|i| rows[i / BLOCK_SIDE][i % BLOCK_SIDE] = i as f32);
            let mut columns = [[0.0; BLOCK_SIDE]; BLOCK_SIDE];
            transpose.transpose(&rows, &mut columns);
            for i in 0..64 {
                assert_eq!(columns[i % BLOCK_SIDE][i / BLOCK_SIDE], i as f32);
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        dispatch(Check);
        Check.with_transpose(Scalar);
    }
}
