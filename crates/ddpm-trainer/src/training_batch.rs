//! A batch of training images with their classes.

use candle_core::{Device, Tensor};
use ddpm_rng::{Purpose, Stream};

use crate::error::TrainerError;
use crate::trainable_model::ClassLabels;

/// The images of a batch, and their classes if the network is conditioned on them.
#[derive(Debug, Clone)]
pub struct TrainingBatch {
    /// [batch, channel, height, width] in [−1, 1].
    pub images: Tensor,
    /// The class of each image, below [`ClassLabels::classes`]. `None` if the network is not conditioned on classes.
    pub labels: Option<Vec<u32>>,
}

/// Images without classes.
impl From<Tensor> for TrainingBatch {
    fn from(images: Tensor) -> Self {
        Self { images, labels: None }
    }
}

/// The labels that the network receives for the batch at `position` in the data, `[batch]`, u32 on the CPU: those of
/// the batch, each replaced by the label for no class with probability `dropout` (Ho & Salimans 2022, algorithm 1).
///
/// # Errors
/// [`TrainerError::Model`] when there are labels exactly if the network takes none, or a label is no class.
pub(crate) fn network_labels(
    labels: Option<&[u32]>,
    images: usize,
    classes: Option<ClassLabels>,
    dropout: f64,
    seed: u64,
    position: u64,
) -> Result<Option<Tensor>, TrainerError> {
    let wrong = |expected: String, found: String| {
        Err(TrainerError::Model(format!("labels of batch {position}: expected {expected}, found {found}")))
    };
    let (labels, classes) = match (labels, classes) {
        (None, None) => return Ok(None),
        (Some(_), None) => return wrong("none, as the network has no classes".into(), "labels".into()),
        (None, Some(_)) => return wrong("one for each image, as the network has classes".into(), "none".into()),
        (Some(labels), Some(classes)) => (labels, classes),
    };
    if labels.len() != images {
        return wrong(format!("one for each of {images} images"), labels.len().to_string());
    }
    if let Some(label) = labels.iter().find(|label| **label >= classes.classes) {
        return wrong(format!("classes below {}", classes.classes), label.to_string());
    }
    let mut stream = Stream::new(seed, Purpose::ClassDropout, position);
    let dropped = |label: &u32| match (stream.bernoulli(dropout), classes.without_class) {
        (true, Some(without_class)) => without_class,
        _ => *label,
    };
    let labels: Vec<u32> = labels.iter().map(dropped).collect();
    Ok(Some(Tensor::from_vec(labels, images, &Device::Cpu)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: Option<ClassLabels> = Some(ClassLabels { classes: 3, without_class: Some(3) });

    fn labels(of_batch: &[u32], dropout: f64, position: u64) -> Vec<u32> {
        let labels = network_labels(Some(of_batch), of_batch.len(), CLASSES, dropout, 1, position);
        labels.unwrap().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_share_of_the_labels_is_dropped() {
        let all = vec![2; 10_000];
        assert_eq!(labels(&all, 0.0, 0), all);
        let dropped = labels(&all, 0.1, 0).iter().filter(|label| **label == 3).count();
        assert!((900..1100).contains(&dropped), "{dropped}");
        assert_eq!(labels(&all, 0.1, 5), labels(&all, 0.1, 5));
        assert_ne!(labels(&all, 0.1, 5), labels(&all, 0.1, 6));
    }

    #[test]
    fn labels_that_do_not_fit_the_network_are_refused() {
        let message = |labels: Option<&[u32]>, classes| {
            network_labels(labels, 2, classes, 0.1, 1, 7).expect_err("they do not fit").to_string()
        };
        for (labels, classes, expected) in [
            (Some(&[0, 3][..]), CLASSES, "batch 7: expected classes below 3, found 3"),
            (Some(&[0]), CLASSES, "expected one for each of 2 images, found 1"),
            (None, CLASSES, "expected one for each image, as the network has classes, found none"),
            (Some(&[0, 1]), None, "expected none, as the network has no classes"),
        ] {
            assert!(message(labels, classes).contains(expected), "{}", message(labels, classes));
        }
        assert!(network_labels(None, 2, None, 0.1, 1, 7).unwrap().is_none());
    }
}
