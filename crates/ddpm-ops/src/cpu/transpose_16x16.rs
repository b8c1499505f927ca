//! Transposition of 16 × 16 elements that compilers turn into shuffles.

/// `columns[i][row]` is element `i` of row `row`.
#[inline(always)]
pub(crate) fn transpose_16x16<T: Copy + Default>(mut rows: [[T; 16]; 16]) -> [[T; 16]; 16] {
    // Each stage exchanges the off-diagonal quarters of squares half as large as those of the stage before. All
    // permutations are constants, so each is one shuffle.
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

    #[test]
    fn transposing_exchanges_rows_and_columns() {
        let rows = std::array::from_fn(|row| std::array::from_fn(|i| (row * 16 + i) as u32));
        let columns = transpose_16x16(rows);
        for (row, i) in (0..256).map(|n| (n / 16, n % 16)) {
            assert_eq!(columns[i][row], rows[row][i]);
        }
    }
}
