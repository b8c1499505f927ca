//! The device that `--device` selects.

use std::str::FromStr;

use anyhow::anyhow;
use candle_core::{DType, Device, Tensor};
use tracing::warn;

use crate::exit::usage_error;
use crate::gpu;
use crate::gpu_failure::GpuFailure;

/// The value of `--device`: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU if the program was built with CUDA and the GPU can be used, and the CPU otherwise.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU with this index.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", number)) => {
                number.parse().map(Self::Cuda).map_err(|_| format!("expected a number after cuda:, found {number}"))
            }
            _ => Err("expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl DeviceChoice {
    /// The choice of one of several processes on a host: `auto` is the GPU with the number of the process among those
    /// of the host, if the program was built with CUDA.
    pub(crate) fn of_local_rank(self, local_rank: usize) -> Self {
        match self {
            Self::Auto if candle_core::utils::cuda_is_available() => Self::Cuda(local_rank),
            choice => choice,
        }
    }

    /// Opens the device. If the program was built with CUDA and `auto` falls back to the CPU, a warning says why.
    ///
    /// # Errors
    /// When a GPU is selected and the program was built without CUDA, there is no GPU with this index, or it cannot be
    /// used.
    pub fn open(self) -> anyhow::Result<Device> {
        let has_cuda = candle_core::utils::cuda_is_available();
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !has_cuda => Ok(Device::Cpu),
            Self::Auto => Ok(open_gpu(0).unwrap_or_else(|failure| {
                warn!("using the CPU, because cuda:0 cannot be used: {failure}");
                Device::Cpu
            })),
            Self::Cuda(_) if !has_cuda => {
                Err(usage_error("--device cuda: expected auto or cpu, because this program was built without CUDA"))
            }
            Self::Cuda(index) => open_gpu(index).map_err(|failure| {
                let message = format!("--device cuda:{index}: {failure}");
                match failure {
                    GpuFailure::Absent(_) => usage_error(message),
                    GpuFailure::Unusable(_) => anyhow!(message),
                }
            }),
        }
    }
}

fn open_gpu(index: usize) -> Result<Device, GpuFailure> {
    let failure = |error: candle_core::Error| GpuFailure::from_message(&error.to_string());
    match gpu::count().map_err(failure)? {
        0 => return Err(GpuFailure::from_message("CUDA_ERROR_NO_DEVICE")),
        count if index >= count => return Err(GpuFailure::index_out_of_range(count)),
        _ => {}
    }
    let device = gpu::open(index).map_err(failure)?;
    // A driver or a GPU that is too old for the kernels of this program only fails when a kernel runs.
    let run_a_kernel = || Tensor::zeros(1, DType::F32, &device)?.affine(1.0, 1.0)?.to_vec1::<f32>();
    run_a_kernel().map_err(failure)?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["gpu", "cuda:", "cuda:x", "cpu:0", ""] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
