//! What to do where the memory of a GPU does not hold the pictures that are computed together.

use candle_core::Device;
use ddpm_cli::{device_label, is_out_of_memory};
use tracing::debug;

use crate::plan::Plan;

/// The error itself, or how many pictures to try where it says that memory was not enough.
pub(crate) fn advise(error: anyhow::Error, device: &Device, plan: &Plan) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    // Its words are CUDA's, and add nothing but where it happened.
    debug!("{error:#}");
    // The pictures between two are one batch, whatever --batch-size says.
    let flag = if plan.between { "--interpolate" } else { "--batch-size" };
    anyhow::anyhow!(advice(&device_label(device), flag, plan.batch_size))
}

fn advice(device: &str, flag: &str, batch_size: usize) -> String {
    let full = format!("out of memory on {device} with {batch_size} pictures at once: expected as many as fit");
    match batch_size / 2 {
        0 => full,
        fewer => format!("{full}; try {flag} {fewer}"),
    }
}

#[cfg(test)]
mod tests {
    use super::advice;

    #[test]
    fn fewer_are_tried() {
        let line = "out of memory on cuda:0 with 64 pictures at once: expected as many as fit; try --batch-size 32";
        assert_eq!(advice("cuda:0", "--batch-size", 64), line);
        assert!(advice("cuda:0", "--interpolate", 1).ends_with("as many as fit"));
    }
}
