//! The sum of the gradients of consecutive batches, in an order that depends on their number alone.

use candle_core::{Result, Tensor};
use ddpm_ops::Gradient;

use crate::batch_gradients::BatchGradients;

/// Sums losses and gradients pairwise: ((b₀ + b₁) + (b₂ + b₃)) + …, a balanced binary tree if the number of batches is
/// a power of two.
///
/// A rank that holds an equal share of the batches of a step computes a subtree, so that several ranks add in the
/// order of one. The rounding error grows with the logarithm of the number of batches. Of n batches at most
/// ⌊log₂ n⌋ + 1 partial sums are in memory.
#[derive(Debug, Default)]
pub(crate) struct PairwiseSum {
    /// Sums of 2ᵏ batches, with decreasing k.
    partial_sums: Vec<(usize, BatchGradients)>,
}

impl PairwiseSum {
    /// Adds a batch that further ones will follow.
    pub(crate) fn push(&mut self, batch: BatchGradients) -> Result<()> {
        let (mut count, mut sum) = (1, batch);
        while let Some((_, earlier)) = self.partial_sums.pop_if(|(earlier, _)| *earlier == count) {
            sum = earlier.add(sum)?;
            count *= 2;
        }
        self.partial_sums.push((count, sum));
        Ok(())
    }

    /// The sum of the gradients of the parameter `name` over all batches, given that of the last one.
    pub(crate) fn add_last(&mut self, name: &str, last: Gradient) -> Result<Gradient> {
        let mut sum = last;
        for (_, earlier) in self.partial_sums.iter_mut().rev() {
            if let Some(earlier) = earlier.gradients.remove(name) {
                sum.add(&earlier)?;
            }
        }
        Ok(sum)
    }

    /// The sum of the losses of all batches, given that of the last one.
    pub(crate) fn add_last_loss(&self, last: Tensor) -> Result<Tensor> {
        self.partial_sums.iter().rev().try_fold(last, |sum, (_, earlier)| &earlier.loss + sum)
    }

    /// The gradients that no call of [`PairwiseSum::add_last`] has taken: those of parameters that the last batch does
    /// not use.
    pub(crate) fn into_rest(self) -> Result<impl Iterator<Item = (String, Gradient)>> {
        let mut sums = self.partial_sums.into_iter().rev().map(|(_, sum)| sum);
        let rest = match sums.next() {
            Some(last) => sums.try_fold(last, |sum, earlier| earlier.add(sum))?.gradients,
            None => Default::default(),
        };
        Ok(rest.into_iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Device;

    use super::*;

    fn batch(value: f32) -> BatchGradients {
        let tensor = || Tensor::new(value, &Device::Cpu).unwrap();
        BatchGradients { loss: tensor(), gradients: BTreeMap::from([("w".to_owned(), Gradient::from(tensor()))]) }
    }

    fn sum(values: &[f32]) -> (f32, f32) {
        let (last, earlier) = values.split_last().unwrap();
        let mut sum = PairwiseSum::default();
        earlier.iter().for_each(|value| sum.push(batch(*value)).unwrap());
        let last = batch(*last);
        let loss = sum.add_last_loss(last.loss).unwrap().to_scalar().unwrap();
        let gradient = last.gradients.into_values().next().unwrap();
        let gradient = sum.add_last("w", gradient).unwrap();
        assert_eq!(sum.into_rest().unwrap().count(), 0);
        let shape = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
        (loss, gradient.to_tensor(&shape).unwrap().to_scalar().unwrap())
    }

    /// 2²⁴ + 1 rounds to 2²⁴ in f32, so the result shows the order of the additions.
    #[test]
    fn batches_are_added_in_a_balanced_tree() {
        let big = 16_777_216.0_f32;
        assert_eq!(sum(&[big, 1.0]), (big, big));
        assert_eq!(sum(&[big, 1.0, 1.0, 1.0]), (big + 2.0, big + 2.0));
        // (big + 1) + (1 + 1), then the fifth: from left to right, the sum would stay at `big`.
        assert_eq!(sum(&[big, 1.0, 1.0, 1.0, 2.0]), (big + 4.0, big + 4.0));
        assert_eq!(sum(&[3.0]), (3.0, 3.0));
    }

    #[test]
    fn a_share_of_the_batches_is_a_subtree() {
        let values: Vec<f32> = (0..8).map(|i| (1.3_f32 + i as f32).sin() * 10_f32.powi(i % 5)).collect();
        for ranks in [2, 4] {
            let shares: Vec<f32> = values.chunks(8 / ranks).map(|share| sum(share).0).collect();
            assert_eq!(sum(&shares).0.to_bits(), sum(&values).0.to_bits(), "{ranks} ranks");
        }
    }

    #[test]
    fn gradients_that_the_last_batch_does_not_have_are_kept() {
        let mut sum = PairwiseSum::default();
        [1.0, 2.0, 4.0].into_iter().for_each(|value| sum.push(batch(value)).unwrap());
        let rest: Vec<_> = sum.into_rest().unwrap().collect();
        assert_eq!(rest.len(), 1);
        let shape = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert_eq!(rest[0].1.to_tensor(&shape).unwrap().to_scalar::<f32>().unwrap(), 7.0);
    }
}
