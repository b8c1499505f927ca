//! The order in which the vectors of all ranks are added.

/// Elements that are summed before the next ones, so that partial sums stay in the first-level cache.
const BLOCK: usize = 1024;

/// The element-wise sum of `vectors`, added as a binary tree over their order: ((v₀ + v₁) + (v₂ + v₃)) + …
///
/// The tree of n vectors splits them into the first 2ᵏ and the rest, where 2ᵏ is the largest power of two below n. The
/// bits of the sum therefore depend on the vectors and their order alone. If n vectors are first summed in groups of a
/// power of two, and then the sums of the groups, the bits are the same. NaN and infinities propagate.
///
/// # Panics
/// When there is no vector, or their lengths differ.
///
/// # Examples
/// ```
/// use ddpm_distributed::pairwise_sum;
///
/// assert_eq!(pairwise_sum(&[&[1.0, 2.0], &[3.0, 4.0], &[5.0, 6.0]]), [9.0, 12.0]);
/// // The order matters: from left to right, this sum would be 4.
/// assert_eq!(pairwise_sum(&[&[1e8], &[3.0], &[-1e8], &[4.0]]), [0.0]);
/// ```
pub fn pairwise_sum(vectors: &[&[f32]]) -> Vec<f32> {
    let mut sum = vec![0.0; vectors[0].len()];
    pairwise_sum_into(vectors, &mut sum);
    sum
}

/// [`pairwise_sum`], into `sum`.
pub(crate) fn pairwise_sum_into(vectors: &[&[f32]], sum: &mut [f32]) {
    for vector in vectors {
        assert_eq!(vector.len(), sum.len(), "pairwise_sum: vectors of different lengths");
    }
    // The right halves of each level of the tree.
    let mut partial = vec![0.0; BLOCK * (vectors.len().ilog2() as usize + 1)];
    for (i, block) in sum.chunks_mut(BLOCK).enumerate() {
        sum_block(vectors, i * BLOCK, block, &mut partial);
    }
}

/// The sum of the elements from `start` on, as many as `sum` has.
fn sum_block(vectors: &[&[f32]], start: usize, sum: &mut [f32], partial: &mut [f32]) {
    let of = |vector: usize| &vectors[vector][start..start + sum.len()];
    match vectors {
        [_] => sum.copy_from_slice(of(0)),
        [_, _] => {
            let pairs = of(0).iter().zip(of(1));
            sum.iter_mut().zip(pairs).for_each(|(sum, (a, b))| *sum = a + b);
        }
        _ => {
            let (left, right) = vectors.split_at(left_half(vectors.len()));
            sum_block(left, start, sum, partial);
            let (right_sum, partial) = partial.split_at_mut(BLOCK);
            let right_sum = &mut right_sum[..sum.len()];
            sum_block(right, start, right_sum, partial);
            sum.iter_mut().zip(right_sum).for_each(|(sum, right)| *sum += *right);
        }
    }
}

/// The tree of [`pairwise_sum`] over anything that can be added.
///
/// # Panics
/// When there is no item.
#[cfg(any(feature = "nccl", test))]
pub(crate) fn pairwise_tree<T, E>(mut items: Vec<T>, add: &mut impl FnMut(&T, &T) -> Result<T, E>) -> Result<T, E> {
    if items.len() == 1 {
        return Ok(items.remove(0));
    }
    let right = items.split_off(left_half(items.len()));
    let (left, right) = (pairwise_tree(items, add)?, pairwise_tree(right, add)?);
    add(&left, &right)
}

/// The largest power of two below `n`, which is at least 2.
pub(crate) fn left_half(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers whose sum depends on the order of the additions.
    fn vectors(n: usize, len: usize) -> Vec<Vec<f32>> {
        let value = |i: usize| ((i * 7919 % 1013) as f32 - 506.0) * 10f32.powi((i % 9) as i32 - 4);
        (0..n).map(|v| (0..len).map(|i| value(v * 131 + i * 17 + 1)).collect()).collect()
    }

    fn sum(vectors: &[Vec<f32>]) -> Vec<f32> {
        pairwise_sum(&vectors.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn tree(values: &[f32]) -> f32 {
        let Ok(sum) = pairwise_tree(values.to_vec(), &mut |a, b| Ok::<_, std::convert::Infallible>(a + b));
        sum
    }

    #[test]
    fn the_tree_splits_at_the_largest_power_of_two() {
        let text = |n: usize| {
            let names = (0..n).map(|i| i.to_string()).collect();
            let Ok(text) = pairwise_tree(names, &mut |a, b| Ok::<_, std::convert::Infallible>(format!("({a}+{b})")));
            text
        };
        assert_eq!(text(1), "0");
        assert_eq!(text(3), "((0+1)+2)");
        assert_eq!(text(7), "(((0+1)+(2+3))+((4+5)+6))");
        assert_eq!(text(8), "(((0+1)+(2+3))+((4+5)+(6+7)))");
    }

    #[test]
    fn the_order_is_that_of_the_tree() {
        for n in 1..=17 {
            for len in [0, 1, 5, BLOCK - 1, BLOCK, 2 * BLOCK + 3] {
                let vectors = vectors(n, len);
                let expected: Vec<_> =
                    (0..len).map(|i| tree(&vectors.iter().map(|v| v[i]).collect::<Vec<_>>())).collect();
                assert_eq!(bits(&sum(&vectors)), bits(&expected), "{n} vectors of {len} elements");
            }
        }
    }

    #[test]
    fn groups_of_a_power_of_two_give_the_same_bits() {
        for (n, group) in [(8, 2), (8, 4), (16, 4), (12, 4), (6, 2)] {
            let vectors = vectors(n, 300);
            let groups: Vec<_> = vectors.chunks(group).map(sum).collect();
            assert_eq!(bits(&sum(&groups)), bits(&sum(&vectors)), "{n} vectors in groups of {group}");
        }
    }

    #[test]
    fn the_order_of_the_tree_differs_from_left_to_right() {
        let vectors = vectors(8, 300);
        let left_to_right: Vec<_> = (0..300).map(|i| vectors.iter().fold(0.0, |sum, v| sum + v[i])).collect();
        assert_ne!(bits(&sum(&vectors)), bits(&left_to_right), "the test's numbers do not tell orders apart");
    }

    #[test]
    fn nan_and_infinities_propagate() {
        let inf = f32::INFINITY;
        let total = pairwise_sum(&[&[1.0, f32::NAN, inf, inf], &[1.0; 4], &[1.0, 1.0, 1.0, -inf]]);
        assert_eq!(total[0], 3.0);
        assert!(total[1].is_nan());
        assert_eq!(total[2], inf);
        assert!(total[3].is_nan());
    }
}
