//! Advice for a GPU whose memory does not hold a batch of images.

use candle_core::{DType, Device, Tensor};
use ddpm_cli::{device_label, is_out_of_memory, pluralize};
use ddpm_diffusion::Denoiser;
use tracing::{debug, info};

use crate::plan::Plan;

/// Turns an out-of-memory error into advice on the batch size, which is found by trying smaller batches. Other errors
/// are returned unchanged.
pub(crate) fn advise(error: anyhow::Error, device: &Device, plan: &Plan) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    // The message of CUDA only adds where the allocation failed.
    debug!("{error:#}");
    let label = device_label(device);
    info!("out of memory on {label}: looking for a batch that fits");
    // Interpolated images are one batch, regardless of --batch-size.
    let option = if plan.interpolates { "--interpolate" } else { "--batch-size" };
    let fits = largest_fraction(plan.batch_size, |images| fits(plan, device, images));
    anyhow::anyhow!(advice(&label, option, plan.batch_size, fits))
}

/// Whether the memory is sufficient for a forward pass of the network with `images` images.
fn fits(plan: &Plan, device: &Device, images: usize) -> bool {
    let [channels, height, width] = plan.image_shape;
    let predicted = Tensor::zeros((images, channels, height, width), DType::F32, device).and_then(|x_t| {
        let t = Tensor::zeros(images, DType::F32, &Device::Cpu)?;
        let denoiser = plan.denoiser(0, images).map_err(|error| candle_core::Error::msg(error.to_string()))?;
        let output = denoiser.predict(&x_t, &t)?;
        // The device computes asynchronously: an error may only appear when a value is read.
        output.flatten_all()?.get(0)?.to_scalar::<f32>()
    });
    predicted.is_ok()
}

/// The first of `images` / 2, `images` / 4, … that fits. `None` if a single image does not.
fn largest_fraction(images: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    std::iter::successors(Some(images / 2), |images| Some(images / 2))
        .take_while(|images| *images > 0)
        .find(|n| fits(*n))
}

fn advice(device: &str, option: &str, batch_size: usize, fits: Option<usize>) -> String {
    let full = format!("out of memory on {device} with {} in a batch", pluralize(batch_size, "image"));
    match fits {
        Some(fits) => format!("{full}; there is room for {fits}: use {option} {fits}"),
        None => format!(
            "{full}, and not enough for a single image; stop other programs that use the GPU, or use --device cpu"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{advice, largest_fraction};

    #[test]
    fn the_advice_names_a_batch_size_that_fits() {
        let tried = |batch_size, most| {
            advice("cuda:0", "--batch-size", batch_size, largest_fraction(batch_size, |images| images <= most))
        };
        assert_eq!(
            tried(64, 20),
            "out of memory on cuda:0 with 64 images in a batch; there is room for 16: use --batch-size 16"
        );
        assert!(tried(7, 100).ends_with("room for 3: use --batch-size 3"));
        assert!(tried(64, 0).contains("64 images in a batch, and not enough for a single image"));
        assert!(tried(1, 0).contains("with 1 image in a batch"));
    }
}
