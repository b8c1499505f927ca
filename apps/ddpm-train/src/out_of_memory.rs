//! Advice for a GPU whose memory is not sufficient for a training.

use candle_core::Device;
use ddpm_cli::{device_label, is_out_of_memory};
use ddpm_trainer::Trainer;
use tracing::{debug, info};

use crate::run_config::RunConfig;

/// Turns an out-of-memory error before the first step into advice. Other errors are returned unchanged.
pub(crate) fn advise_at_start(error: anyhow::Error, device: &Device) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    debug!("{error:#}");
    let device = device_label(device);
    anyhow::anyhow!(
        "out of memory on {device} before the first step: expected room for weights, gradients, moments and averaged \
         weights; try a smaller network, or stop other programs that use the GPU"
    )
}

/// Turns an out-of-memory error into advice on the batch size, which is found by trying smaller batches. Other errors
/// are returned unchanged.
pub(crate) fn advise(error: anyhow::Error, trainer: &Trainer, config: &RunConfig) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    // The message of CUDA only adds where the allocation failed.
    debug!("{error:#}");
    let device = device_label(trainer.device());
    info!("out of memory on {device}: looking for a batch that fits");
    let (size, channels) = (config.model.image_size(), config.model.channels());
    let fits = |parts: usize, batch: usize| {
        let tried = trainer
            .try_forward_backward(parts, [batch, channels, size.height, size.width])
            .map_err(anyhow::Error::from);
        match tried {
            Ok(()) => Some(true),
            Err(error) if is_out_of_memory(&error) => Some(false),
            Err(_) => None,
        }
    };
    let (batch_size, accumulation) = (config.train.batch_size, config.train.gradient_accumulation_steps);
    let division = fewest_parts(batch_size, |parts| fits(accumulation.saturating_mul(parts), batch_size / parts));
    anyhow::anyhow!(advice(&device, batch_size, accumulation, config.sample.preview_images, division))
}

/// Into how many parts a batch has to be divided to fit into the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Division {
    /// This number of equal parts fits.
    Parts(usize),
    /// A single image does not fit.
    Impossible,
    /// The trial failed for another reason.
    Unknown,
}

/// The smallest number of equal parts that fit, so that a step sees as many images as before. `fits` returns `None` if
/// it fails for another reason than memory.
fn fewest_parts(batch_size: usize, fits: impl Fn(usize) -> Option<bool>) -> Division {
    for parts in (1..=batch_size).filter(|parts| batch_size.is_multiple_of(*parts)) {
        match fits(parts) {
            Some(true) => return Division::Parts(parts),
            Some(false) => {}
            None => return Division::Unknown,
        }
    }
    Division::Impossible
}

fn advice(device: &str, batch_size: usize, accumulation: usize, preview_images: usize, division: Division) -> String {
    let full = format!("out of memory on {device} with train.batch_size = {batch_size}");
    match division {
        Division::Parts(1) => format!(
            "out of memory on {device}: a training step fits, so a preview of {preview_images} images or another \
             program needed the memory; try a smaller sample.preview_images"
        ),
        Division::Parts(parts) => format!(
            "{full}; {} fits: with train.gradient_accumulation_steps = {}, a step has as many images as before",
            batch_size / parts,
            accumulation.saturating_mul(parts)
        ),
        Division::Impossible => format!(
            "{full}, and a single image does not fit; try train.recompute = true, or a smaller model.image_size or \
             network"
        ),
        Division::Unknown => format!("{full}; try a smaller batch size"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_keeps_its_number_of_images() {
        let tried = |batch_size: usize, accumulation, most: usize| {
            let division = fewest_parts(batch_size, |parts| Some(batch_size / parts <= most));
            advice("cuda:0", batch_size, accumulation, 16, division)
        };
        let line = "out of memory on cuda:0 with train.batch_size = 128; 32 fits: with \
                    train.gradient_accumulation_steps = 4, a step has as many images as before";
        assert_eq!(tried(128, 1, 63), line);
        assert!(tried(64, 2, 32).contains("; 32 fits: with train.gradient_accumulation_steps = 4,"));
        assert!(tried(15, 1, 14).contains("; 5 fits: with train.gradient_accumulation_steps = 3,"));
        assert!(tried(8, 1, 8).contains("a preview of 16 images"));
        assert!(tried(6, 1, 0).contains("a single image does not fit"));
    }

    #[test]
    fn another_failure_ends_the_trials() {
        let trials = std::cell::Cell::new(0);
        let fails = |_| {
            trials.set(trials.get() + 1);
            None
        };
        assert_eq!((fewest_parts(128, fails), trials.get()), (Division::Unknown, 1));
    }
}
