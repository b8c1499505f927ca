//! The order in which the images of a set are visited.

use ddpm_rng::{Purpose, Stream};

use crate::labels::Labels;

/// The order of a training set. Every epoch has a random permutation of its own, a function of (seed, epoch), which is
/// divided into whole batches.
///
/// The images at the end that do not fill a batch are left out of their epoch (`drop_last` in PyTorch). Each epoch
/// leaves out other images.
///
/// With classes that are visited equally often, an epoch has as many positions, but each group of as many of them as
/// there are classes holds one image of each class, in random order. A class visits its images in random order, again
/// from the beginning when there are no more.
#[derive(Debug, Clone)]
pub(crate) struct SampleOrder {
    seed: u64,
    images: usize,
    batch_size: usize,
    /// The images of each class, if classes are visited equally often.
    classes: Option<Vec<Vec<usize>>>,
    /// The epoch of `order`.
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl SampleOrder {
    /// The order of a set that fills at least one batch.
    pub(crate) fn new(seed: u64, images: usize, batch_size: usize) -> Self {
        Self { seed, images, batch_size, classes: None, epoch: None, order: Vec::new() }
    }

    /// The same order, with classes that are visited equally often.
    pub(crate) fn balanced(self, labels: &Labels) -> Self {
        let mut classes = vec![Vec::new(); labels.classes().len()];
        for (image, label) in labels.of_images().iter().enumerate() {
            classes[*label as usize].push(image);
        }
        Self { classes: Some(classes), ..self }
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
            let mut stream = Stream::new(self.seed, Purpose::Shuffle, epoch);
            self.order = match &self.classes {
                Some(classes) => balanced_order(classes, self.images, &mut stream),
                None => shuffled((0..self.images).collect(), &mut stream),
            };
            self.epoch = Some(epoch);
        }
        let start = (batch % self.batches_per_epoch()) as usize * self.batch_size;
        &self.order[start..start + self.batch_size]
    }
}

fn shuffled(mut items: Vec<usize>, stream: &mut Stream) -> Vec<usize> {
    stream.shuffle(&mut items);
    items
}

/// `len` images, in which every class is equally frequent.
fn balanced_order(classes: &[Vec<usize>], len: usize, stream: &mut Stream) -> Vec<usize> {
    // The images of each class that have not been visited since its last shuffle.
    let mut left: Vec<Vec<usize>> = vec![Vec::new(); classes.len()];
    let mut order = Vec::with_capacity(len + classes.len());
    while order.len() < len {
        for class in shuffled((0..classes.len()).collect(), stream) {
            if left[class].is_empty() {
                left[class] = shuffled(classes[class].clone(), stream);
            }
            order.extend(left[class].pop());
        }
    }
    order.truncate(len);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_visited_equally_often() {
        let of_image: Vec<u32> = (0..30).map(|i| u32::from(i >= 3) + u32::from(i >= 10)).collect();
        let labels = Labels::new(["a", "b", "c"].map(String::from).to_vec(), of_image).unwrap();
        let epoch = |seed| {
            let mut order = SampleOrder::new(seed, 30, 5).balanced(&labels);
            (0..6).flat_map(|batch| order.batch(batch).to_vec()).collect::<Vec<usize>>()
        };
        let visited = epoch(1);
        for group in visited.chunks(3) {
            let mut classes: Vec<u32> = group.iter().map(|image| labels.label(*image)).collect();
            classes.sort_unstable();
            assert_eq!(classes, [0, 1, 2]);
        }
        // Ten visits: each of the three images of class a at least three times, none of class c twice.
        let times = |image: usize| visited.iter().filter(|visited| **visited == image).count();
        assert!((0..3).all(|image| (3..=4).contains(&times(image))));
        assert!((10..30).all(|image| times(image) <= 1));
        assert_eq!((epoch(1), epoch(2) == visited), (visited, false));
    }

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
