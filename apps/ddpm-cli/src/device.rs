//! The device that a flag names.

use std::str::FromStr;

use anyhow::anyhow;
use candle_core::{DType, Device, Tensor};
use tracing::warn;

use crate::gpu_failure::GpuFailure;
use crate::{gpu, usage};

/// `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU where the program was built for one and it can be used, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of that number.
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
    /// The device itself. Where `auto` finds a GPU that it cannot use, or none in a program built for one, a warning
    /// says why it is the CPU.
    ///
    /// # Errors
    /// When a GPU is asked for by a program built without CUDA, there is none of that number, or it cannot be used.
    pub fn open(self) -> anyhow::Result<Device> {
        let built_for_gpus = candle_core::utils::cuda_is_available();
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !built_for_gpus => Ok(Device::Cpu),
            Self::Auto => Ok(open_gpu(0).unwrap_or_else(|failure| {
                warn!("computes on the CPU, as cuda:0 cannot be used: {failure}");
                Device::Cpu
            })),
            Self::Cuda(_) if !built_for_gpus => {
                Err(usage("--device cuda: expected auto or cpu: this program has no CUDA in it"))
            }
            Self::Cuda(number) => open_gpu(number).map_err(|failure| {
                let line = format!("--device cuda:{number}: {failure}");
                match failure {
                    GpuFailure::Absent(_) => usage(line),
                    GpuFailure::Unusable(_) => anyhow!(line),
                }
            }),
        }
    }
}

fn open_gpu(number: usize) -> Result<Device, GpuFailure> {
    let failure = |error: candle_core::Error| GpuFailure::of(&error.to_string());
    match gpu::count().map_err(failure)? {
        0 => return Err(GpuFailure::of("CUDA_ERROR_NO_DEVICE")),
        there if number >= there => return Err(GpuFailure::beyond(there)),
        _ => {}
    }
    let device = gpu::open(number).map_err(failure)?;
    // A driver or a GPU too old for the kernels in this program is noticed by the first of them that runs, not before.
    let first = || Tensor::zeros(1, DType::F32, &device)?.affine(1.0, 1.0)?.to_vec1::<f32>();
    first().map_err(failure)?;
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        assert_eq!("auto".parse(), Ok(DeviceChoice::Auto));
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        for wrong in ["gpu", "cuda:", "cuda:x", "cpu:0", ""] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
    }
}
