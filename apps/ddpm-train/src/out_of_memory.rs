//! What to do where the memory of a GPU does not hold a training.

use candle_core::Device;
use ddpm_cli::{device_label, is_out_of_memory};
use ddpm_trainer::Trainer;
use tracing::{debug, info};

use crate::run_config::RunConfig;

/// The error itself, or a line for a training that ran out of memory before its first step.
pub(crate) fn advise_at_start(error: anyhow::Error, device: &Device) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    debug!("{error:#}");
    let device = device_label(device);
    anyhow::anyhow!(
        "out of memory on {device} before the first step: expected room for weights, gradients, moments and averages; try a \
         smaller network, or end what else uses the GPU"
    )
}

/// The error itself, or the batches that fit where it says that memory was not enough: they are tried.
pub(crate) fn advise(error: anyhow::Error, trainer: &Trainer, config: &RunConfig) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    // Its words are CUDA's, and add nothing but where it happened.
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
    let found = fewest_parts(batch_size, |parts| fits(accumulation.saturating_mul(parts), batch_size / parts));
    anyhow::anyhow!(advice(&device, batch_size, accumulation, config.sample.preview_images, found))
}

/// What was found out about batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The batch divided by this fits.
    Parts(usize),
    /// Not even one image does.
    Nothing,
    /// The device does not say.
    Unknown,
}

/// The fewest equal parts of a batch that fit, so that a step sees as many images as before. `fits` says None where
/// something else fails.
fn fewest_parts(batch_size: usize, fits: impl Fn(usize) -> Option<bool>) -> Found {
    for parts in (1..=batch_size).filter(|parts| batch_size.is_multiple_of(*parts)) {
        match fits(parts) {
            Some(true) => return Found::Parts(parts),
            Some(false) => {}
            None => return Found::Unknown,
        }
    }
    Found::Nothing
}

fn advice(device: &str, batch_size: usize, accumulation: usize, preview_images: usize, found: Found) -> String {
    let full = format!("out of memory on {device} with train.batch_size = {batch_size}");
    match found {
        Found::Parts(1) => format!(
            "out of memory on {device}: a step fits, so it was the {preview_images} images of a preview or another program; \
             try a smaller sample.preview_images"
        ),
        Found::Parts(parts) => format!(
            "{full}; {} fits: set train.gradient_accumulation_steps = {} with it for steps of as many images",
            batch_size / parts,
            accumulation.saturating_mul(parts)
        ),
        Found::Nothing => {
            format!(
                "{full}, and one image does not fit; try train.recompute = true, or a smaller model.image_size or network"
            )
        }
        Found::Unknown => format!("{full}: expected a batch that fits; try a smaller one"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_keeps_its_images() {
        let tried = |batch_size: usize, accumulation, most: usize| {
            let found = fewest_parts(batch_size, |parts| Some(batch_size / parts <= most));
            advice("cuda:0", batch_size, accumulation, 16, found)
        };
        let line = "out of memory on cuda:0 with train.batch_size = 128; 32 fits: set train.gradient_accumulation_steps = 4 \
                    with it for steps of as many images";
        assert_eq!(tried(128, 1, 63), line);
        assert!(tried(64, 2, 32).contains("; 32 fits: set train.gradient_accumulation_steps = 4 "));
        assert!(tried(15, 1, 14).contains("; 5 fits: set train.gradient_accumulation_steps = 3 "));
        assert!(tried(8, 1, 8).contains("the 16 images of a preview"));
        assert!(tried(6, 1, 0).contains("one image does not fit"));
    }

    #[test]
    fn a_device_that_fails_otherwise_is_asked_once() {
        let asked = std::cell::Cell::new(0);
        let fails = |_| {
            asked.set(asked.get() + 1);
            None
        };
        assert_eq!((fewest_parts(128, fails), asked.get()), (Found::Unknown, 1));
    }
}
