//! What to do where the memory of a GPU does not hold the images that are computed together.

use candle_core::{DType, Device, Tensor};
use ddpm_cli::{counted, device_label, is_out_of_memory};
use tracing::{debug, info};

use crate::plan::Plan;

/// The error itself, or how many images fit where it says that memory was not enough: fewer are tried.
pub(crate) fn advise(error: anyhow::Error, device: &Device, plan: &Plan) -> anyhow::Error {
    if !is_out_of_memory(&error) {
        return error;
    }
    // Its words are CUDA's, and add nothing but where it happened.
    debug!("{error:#}");
    let label = device_label(device);
    info!("out of memory on {label}: looking for a batch that fits");
    // The images between two are one batch, whatever --batch-size says.
    let flag = if plan.between { "--interpolate" } else { "--batch-size" };
    anyhow::anyhow!(advice(&label, flag, plan.batch_size, half_that_fits(plan.batch_size, |n| fits(plan, device, n))))
}

/// Whether the network has room for that many images.
fn fits(plan: &Plan, device: &Device, images: usize) -> bool {
    let [channels, height, width] = plan.image_shape;
    let predicted = Tensor::zeros((images, channels, height, width), DType::F32, device).and_then(|x_t| {
        let t = Tensor::zeros(images, DType::F32, &Device::Cpu)?;
        let output = plan.network.forward(&x_t, &t, None).map_err(candle_core::Error::wrap)?;
        // A device may fail later than it is asked.
        output.flatten_all()?.get(0)?.to_scalar::<f32>()
    });
    predicted.is_ok()
}

/// Half of `images`, or half of that, and so on, until it fits; None where one does not.
fn half_that_fits(images: usize, fits: impl Fn(usize) -> bool) -> Option<usize> {
    std::iter::successors(Some(images / 2), |images| Some(images / 2))
        .take_while(|images| *images > 0)
        .find(|n| fits(*n))
}

fn advice(device: &str, flag: &str, batch_size: usize, fits: Option<usize>) -> String {
    let full = format!("out of memory on {device} with {} at once", counted(batch_size, "image"));
    match fits {
        Some(fits) => format!("{full}; there is room for {fits}: {flag} {fits}"),
        None => format!("{full}, and none for one alone; end what else uses the GPU, or --device cpu"),
    }
}

#[cfg(test)]
mod tests {
    use super::{advice, half_that_fits};

    #[test]
    fn what_fits_is_said() {
        let tried = |batch_size, most| {
            advice("cuda:0", "--batch-size", batch_size, half_that_fits(batch_size, |images| images <= most))
        };
        assert_eq!(
            tried(64, 20),
            "out of memory on cuda:0 with 64 images at once; there is room for 16: --batch-size 16"
        );
        assert!(tried(7, 100).ends_with("room for 3: --batch-size 3"));
        assert!(tried(64, 0).contains("64 images at once, and none for one alone"));
        assert!(tried(1, 0).contains("with 1 image at once"));
    }
}
