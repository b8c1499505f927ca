//! What to do where the memory of a GPU does not hold a batch.

use candle_core::Device;
use ddpm_cli::{device_label, is_out_of_memory};
use ddpm_trainer::TrainConfig;
use tracing::debug;

/// The error itself, or the batches to try where it says that memory was not enough.
pub(crate) fn advise(error: anyhow::Error, device: &Device, train: &TrainConfig) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    // Its words are CUDA's, and add nothing but where it happened.
    debug!("{error:#}");
    anyhow::anyhow!(advice(&device_label(device), train.batch_size, train.gradient_accumulation_steps))
}

/// Batches in the fewest equal parts, so that a step sees as many pictures as before.
fn advice(device: &str, batch_size: usize, accumulation: usize) -> String {
    let full = format!("out of memory on {device} with train.batch_size = {batch_size}: expected a batch that fits");
    match (2..=batch_size).find(|parts| batch_size.is_multiple_of(*parts)) {
        Some(parts) => format!(
            "{full}; try {} with train.gradient_accumulation_steps = {}",
            batch_size / parts,
            accumulation.saturating_mul(parts)
        ),
        None => format!("{full}; try a smaller model.image_size or a smaller network"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_keeps_its_pictures() {
        let tried = |batch_size, accumulation| advice("cuda:0", batch_size, accumulation);
        let line = "out of memory on cuda:0 with train.batch_size = 128: expected a batch that fits; try 64 with \
                    train.gradient_accumulation_steps = 2";
        assert_eq!(tried(128, 1), line);
        assert!(tried(64, 2).ends_with("try 32 with train.gradient_accumulation_steps = 4"));
        assert!(tried(15, 1).ends_with("try 5 with train.gradient_accumulation_steps = 3"));
        assert!(tried(1, 1).ends_with("try a smaller model.image_size or a smaller network"));
    }
}
