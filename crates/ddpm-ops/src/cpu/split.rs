//! f32 numbers as sums of two bf16, laid out as the tiles of `amx.rs` want them.

/// x as a sum of bf16, each in the upper 16 bits of a word: x rounded, what that left rounded, and so on. Two are x to within
/// 2⁻¹⁷ |x|, three to the last bit.
#[inline(always)]
fn split<const PARTS: usize>(x: f32) -> [u32; PARTS] {
    // Half a unit of the last kept bit: the cut that follows rounds to nearest, ties away from zero.
    const HALF: u32 = 0x8000;
    let mut rest = x;
    std::array::from_fn(|_| {
        let part = rest.to_bits().wrapping_add(HALF) & 0xffff_0000;
        // Exact: the difference has no more bits than `rest`.
        rest -= f32::from_bits(part);
        part
    })
}

/// Two bf16 in a word, the first in its lower half.
#[inline(always)]
fn pair(first: u32, second: u32) -> u32 {
    first >> 16 | second & 0xffff_0000
}

/// Pairs of two rows, element by element, into each part's row: what a row of a `b` tile is. No second row is one of zeros.
#[inline(always)]
pub(crate) fn pair_rows<const PARTS: usize>(first: &[f32], second: Option<&[f32]>, to: [&mut [u32]; PARTS]) {
    let n = first.len();
    let mut to = to.map(|to| &mut to[..n]);
    match second {
        Some(second) => {
            for (i, (first, second)) in first.iter().zip(&second[..n]).enumerate() {
                let (first, second) = (split::<PARTS>(*first), split::<PARTS>(*second));
                (0..PARTS).for_each(|part| to[part][i] = pair(first[part], second[part]));
            }
        }
        None => {
            for (i, first) in first.iter().enumerate() {
                let first = split::<PARTS>(*first);
                (0..PARTS).for_each(|part| to[part][i] = first[part] >> 16);
            }
        }
    }
}

/// The elements of a row one by one: with their neighbours they are the pairs of an `a` tile.
#[inline(always)]
pub(crate) fn single_row<const PARTS: usize>(row: &[f32], to: [&mut [u16]; PARTS]) {
    let mut to = to.map(|to| &mut to[..row.len()]);
    for (i, x) in row.iter().enumerate() {
        let x = split::<PARTS>(*x);
        (0..PARTS).for_each(|part| to[part][i] = (x[part] >> 16) as u16);
    }
}

/// The pairs of neighbours in a row, part by part: a row of an `a` tile.
#[inline(always)]
pub(crate) fn neighbours<const PARTS: usize>(row: &[f32; 32]) -> [[u32; 16]; PARTS] {
    let mut singles = [[0; 32]; PARTS];
    single_row(row, singles.each_mut().map(|part| &mut part[..]));
    singles.map(|part| std::array::from_fn(|i| u32::from(part[2 * i]) | u32::from(part[2 * i + 1]) << 16))
}

/// One pair of any two numbers, part by part.
#[inline(always)]
pub(crate) fn pair_of<const PARTS: usize>(first: f32, second: f32) -> [u32; PARTS] {
    let (first, second) = (split::<PARTS>(first), split::<PARTS>(second));
    std::array::from_fn(|part| pair(first[part], second[part]))
}

/// Rows to columns: `to[i][row]` is element `i` of row `row`, for 16 rows of 16 elements.
#[inline(always)]
pub(crate) fn transpose<T: Copy + Default>(mut rows: [[T; 16]; 16]) -> [[T; 16]; 16] {
    // Swaps the off-diagonal halves of ever smaller squares. The permutations are constants: a shuffle each.
    macro_rules! stage {
        ($bit:literal) => {
            let mut swapped = [[T::default(); 16]; 16];
            for row in 0..16 {
                let other = &rows[row ^ $bit];
                let own = &rows[row];
                swapped[row] = std::array::from_fn(|i| if (i ^ row) & $bit == 0 { own[i] } else { other[i ^ $bit] });
            }
            rows = swapped;
        };
    }
    stage!(8);
    stage!(4);
    stage!(2);
    stage!(1);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum<const PARTS: usize>(x: f32) -> f64 {
        split::<PARTS>(x).into_iter().map(|part| f64::from(f32::from_bits(part))).sum()
    }

    #[test]
    fn the_parts_add_up_to_the_number() {
        let mut x = 1.0e-20f32;
        while x < 1e30 {
            for x in [x, -x] {
                let error = (sum::<2>(x) - f64::from(x)).abs() / f64::from(x).abs();
                assert!(error <= 2f64.powi(-17), "{x}: {error:e}");
                assert_eq!(sum::<3>(x), f64::from(x));
            }
            x *= 1.000_37;
        }
        assert_eq!(sum::<2>(0.0), 0.0);
        // What is not finite stays so.
        assert!(!sum::<3>(f32::INFINITY).is_finite() && !sum::<2>(f32::NAN).is_finite());
    }

    #[test]
    fn transposing_exchanges_rows_and_columns() {
        let rows = std::array::from_fn(|row| std::array::from_fn(|i| (row * 16 + i) as u32));
        let columns = transpose(rows);
        for (row, i) in (0..256).map(|n| (n / 16, n % 16)) {
            assert_eq!(columns[i][row], rows[row][i]);
        }
    }

    #[test]
    fn pairs_lie_in_order() {
        let (mut high, mut low) = ([0; 2], [0; 2]);
        pair_rows(&[1.0, 2.0], Some(&[-1.0, 3.0]), [&mut high, &mut low]);
        assert_eq!((high, low), ([0xbf80_3f80, 0x4040_4000], [0, 0]));
        pair_rows(&[1.0, 2.0], None, [&mut high, &mut low]);
        assert_eq!(high, [0x3f80, 0x4000]);
        assert_eq!(pair_of::<2>(1.0, -1.0)[0], 0xbf80_3f80);
        let mut singles = [[0; 2]; 3];
        single_row(&[1.0, -1.0], singles.each_mut().map(|part| &mut part[..]));
        assert_eq!(singles, [[0x3f80, 0xbf80], [0, 0], [0, 0]]);
    }
}
