//! f32 numbers as sums of two or three bf16, arranged as the rows of tiles.

/// x as a sum of bf16, each in the upper 16 bits of a word: x rounded to bf16, then the remainder rounded to bf16, and
/// so on. The sum of two parts differs from x by at most 2⁻¹⁷ |x|; the sum of three is x.
#[inline(always)]
fn split<const PARTS: usize>(x: f32) -> [u32; PARTS] {
    // Half a unit in the last place of bf16. Adding it before the lower bits are cut off rounds to nearest, ties away
    // from zero.
    const HALF: u32 = 0x8000;
    let mut rest = x;
    std::array::from_fn(|_| {
        let part = rest.to_bits().wrapping_add(HALF) & 0xffff_0000;
        // This subtraction is exact, because the difference has no more significant bits than `rest`.
        rest -= f32::from_bits(part);
        part
    })
}

/// Two bf16 in one word, the first in the lower half.
#[inline(always)]
fn pair(first: u32, second: u32) -> u32 {
    first >> 16 | second & 0xffff_0000
}

/// Interleaves two rows: element i of each part of `to` is the pair of `first[i]` and `second[i]`. This is a row of a
/// `b` tile. A missing second row counts as zeros.
#[inline(always)]
pub(crate) fn interleave_rows<const PARTS: usize>(first: &[f32], second: Option<&[f32]>, to: [&mut [u32]; PARTS]) {
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

/// Writes each part of a row as single bf16. Adjacent elements are then the pairs in a row of an `a` tile.
#[inline(always)]
pub(crate) fn split_row<const PARTS: usize>(row: &[f32], to: [&mut [u16]; PARTS]) {
    let mut to = to.map(|to| &mut to[..row.len()]);
    for (i, x) in row.iter().enumerate() {
        let x = split::<PARTS>(*x);
        (0..PARTS).for_each(|part| to[part][i] = (x[part] >> 16) as u16);
    }
}

/// The pairs of adjacent elements of a row, for each part: a row of an `a` tile.
#[inline(always)]
pub(crate) fn adjacent_pairs<const PARTS: usize>(row: &[f32; 32]) -> [[u32; 16]; PARTS] {
    let mut singles = [[0; 32]; PARTS];
    split_row(row, singles.each_mut().map(|part| &mut part[..]));
    singles.map(|part| std::array::from_fn(|i| u32::from(part[2 * i]) | u32::from(part[2 * i + 1]) << 16))
}

/// The pair of two numbers, for each part.
#[inline(always)]
pub(crate) fn pair_of<const PARTS: usize>(first: f32, second: f32) -> [u32; PARTS] {
    let (first, second) = (split::<PARTS>(first), split::<PARTS>(second));
    std::array::from_fn(|part| pair(first[part], second[part]))
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
        // Infinities and NaN do not become finite.
        assert!(!sum::<3>(f32::INFINITY).is_finite() && !sum::<2>(f32::NAN).is_finite());
    }

    #[test]
    fn pairs_lie_in_order() {
        let (mut high, mut low) = ([0; 2], [0; 2]);
        interleave_rows(&[1.0, 2.0], Some(&[-1.0, 3.0]), [&mut high, &mut low]);
        assert_eq!((high, low), ([0xbf80_3f80, 0x4040_4000], [0, 0]));
        interleave_rows(&[1.0, 2.0], None, [&mut high, &mut low]);
        assert_eq!(high, [0x3f80, 0x4000]);
        assert_eq!(pair_of::<2>(1.0, -1.0)[0], 0xbf80_3f80);
        let mut singles = [[0; 2]; 3];
        split_row(&[1.0, -1.0], singles.each_mut().map(|part| &mut part[..]));
        assert_eq!(singles, [[0x3f80, 0xbf80], [0, 0], [0, 0]]);
    }
}
