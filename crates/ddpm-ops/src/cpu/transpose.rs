//! Rows and columns of 8 × 8 numbers exchanged.

use pulp::{Arch, Simd, WithSimd};

/// Rows of a block that is turned at once.
pub(crate) const EIGHT: usize = 8;

/// A way to turn 8 × 8 numbers.
pub(crate) trait Turn: Copy {
    /// `turned[column][row] = rows[row][column]`
    // By reference: arrays of this size are copied by a call when they are passed.
    fn turn(self, rows: &[[f32; EIGHT]; EIGHT], turned: &mut [[f32; EIGHT]; EIGHT]);
}

/// Work that turns many blocks.
pub(crate) trait WithTurn {
    fn with_turn<T: Turn>(self, turn: T);
}

/// Does that work with the instructions of this machine.
pub(crate) fn dispatch(work: impl WithTurn) {
    struct Call<W, T>(W, T);

    impl<W: WithTurn, T: Turn> WithSimd for Call<W, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) {
            self.0.with_turn(self.1);
        }
    }

    match Arch::new() {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => Simd::vectorize(simd, Call(work, simd)),
        #[cfg(target_arch = "x86_64")]
        Arch::V4(simd) => Simd::vectorize(simd, Call(work, *simd)),
        arch => arch.dispatch(Call(work, Plain)),
    }
}

/// Element by element: compilers know what to do with it where vectors are short.
#[derive(Clone, Copy)]
struct Plain;

impl Turn for Plain {
    #[inline(always)]
    fn turn(self, rows: &[[f32; EIGHT]; EIGHT], turned: &mut [[f32; EIGHT]; EIGHT]) {
        for (i, row) in rows.iter().enumerate() {
            for (turned, value) in turned.iter_mut().zip(row) {
                turned[i] = *value;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Turn for pulp::x86::V3 {
    #[inline(always)]
    fn turn(self, rows: &[[f32; EIGHT]; EIGHT], turned: &mut [[f32; EIGHT]; EIGHT]) {
        use std::arch::x86_64::__m256;

        let avx = self.avx;
        macro_rules! lines {
            ($($row:literal)*) => { [$({ let row: __m256 = pulp::cast(rows[$row]); row }),*] };
        }
        let r = lines!(0 1 2 3 4 5 6 7);
        // Pairs of neighbours, then fours, then eights.
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
            turned[row] = pulp::cast(avx._mm256_permute2f128_ps::<0x20>(f[row], f[row + 4]));
            turned[row + 4] = pulp::cast(avx._mm256_permute2f128_ps::<0x31>(f[row], f[row + 4]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Check;

    impl WithTurn for Check {
        fn with_turn<T: Turn>(self, turn: T) {
            let mut rows = [[0.0; EIGHT]; EIGHT];
            (0..64).for_each(|i| rows[i / EIGHT][i % EIGHT] = i as f32);
            let mut turned = [[0.0; EIGHT]; EIGHT];
            turn.turn(&rows, &mut turned);
            for i in 0..64 {
                assert_eq!(turned[i % EIGHT][i / EIGHT], i as f32);
            }
        }
    }

    #[test]
    fn rows_become_columns() {
        dispatch(Check);
        Check.with_turn(Plain);
    }
}
