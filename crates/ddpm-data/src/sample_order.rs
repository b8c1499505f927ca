//! The order in which the images of a set are visited.

use ddpm_rng::{Purpose, Stream};

/// The order of a training set. Every epoch has a random permutation of its own, a function of (seed, epoch), which is
/// divided into whole batches.
///
/// The images at the end that do not fill a batch are left out of their epoch (`drop_last` in PyTorch). Each epoch
/// leaves out other images.
#[derive(Debug, Clone)]
pub(crate) struct SampleOrder {
    seed: u64,
    images: usize,
    batch_size: usize,
    /// The epoch of `order`.
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl SampleOrder {
    /// The order of a set that fills at least one batch.
    pub(crate) fn new(seed: u64, images: usize, batch_size: usize) -> Self {
        Self { seed, images, batch_size, epoch: None, order: Vec::new() }
    }

    fn batches_per_epoch(&self) -> u64 {
        (self.images / self.batch_size) as u64
    }

    /// The epoch of a batch. Both are numbered from 0.
    pub(crate) fn epoch_of(&self, batch: u64) -> u64 {
        batch / self.batches_per_epoch()
    }

    /// The indices of the images of a batch, which is numbered from 0 over all epochs.
    pub(crate) fn batch(&mut self, batch: u64) -> &[usize] {
        let epoch = self.epoch_of(batch);
        if self.epoch != Some(epoch) {
            self.order = (0..self.images).collect();
            Stream::new(self.seed, Purpose::Shuffle, epoch).shuffle(&mut self.order);
            self.epoch = Some(epoch);
        }
        let start = (batch % self.batches_per_epoch()) as usize * self.batch_size;
        &self.order[start..start + self.batch_size]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_is_another_permutation_of_the_images() {
        let mut order = SampleOrder::new(1, 12, 4);
        let mut epoch =
            |first: u64| -> Vec<usize> { (first..first + 3).flat_map(|b| order.batch(b).to_vec()).collect() };
        let (first, second) = (epoch(0), epoch(3));
        assert_ne!(first, second);
        for mut seen in [first.clone(), second] {
            seen.sort_unstable();
            assert_eq!(seen, (0..12).collect::<Vec<_>>());
        }
        // An earlier epoch can be requested again.
        assert_eq!(epoch(0), first);
    }

    #[test]
    fn images_that_do_not_fill_a_batch_are_left_out() {
        let mut order = SampleOrder::new(1, 11, 4);
        assert_eq!(order.epoch_of(1), 0);
        assert_eq!(order.epoch_of(2), 1);
        let mut seen: Vec<usize> = (0..2).flat_map(|b| order.batch(b).to_vec()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
    }
}
