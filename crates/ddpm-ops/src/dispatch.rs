//! The choice of the backend: the only module that names both.

use candle_core::{DType, Result, Tensor};

use crate::backend::Backend;
use crate::backend::update::UpdateBackend;
use crate::compute_options::ComputeOptions;
use crate::cpu::backend::CpuBackend;
use crate::cpu::slice_update::SliceUpdate;
use crate::device;
use crate::device::backend::DeviceBackend;
use crate::device::tensor_update::TensorUpdate;
use crate::precision::Precision;
use crate::tape::gradient::Gradient;

/// Whether all tensors are f32 on the CPU, which the CPU backend computes; the device backend computes everything else.
/// In a test that emulates the kernels of a GPU, the device backend computes f32 on the CPU too.
fn on_cpu_backend(tensors: &[&Tensor]) -> bool {
    !device::emulated() && tensors.iter().all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// The backend of a forward pass of `inputs`, of which `first` is the first.
///
/// # Errors
/// When the device fails.
pub(crate) fn backend(options: &ComputeOptions, first: &Tensor, inputs: &[&Tensor]) -> Result<Box<dyn Backend>> {
    if options.precision != Precision::Bf16 && on_cpu_backend(inputs) {
        return Ok(Box::new(CpuBackend::new(options.packed_weights.as_ref())));
    }
    let dtype = options.precision.dtype(first.dtype());
    Ok(Box::new(DeviceBackend::new(first.device(), dtype, options)))
}

/// The update backend for parameters and moments of this type and device.
pub(crate) fn update_backend(tensors: &[&Tensor]) -> &'static dyn UpdateBackend {
    if on_cpu_backend(tensors) { &SliceUpdate } else { &TensorUpdate }
}

/// The update backend that can read this gradient.
pub(crate) fn gradient_backend(gradient: &Gradient) -> &'static dyn UpdateBackend {
    match gradient.as_tensor() {
        Some(tensor) => update_backend(&[tensor]),
        // Only the CPU backend stores gradients in another form than tensors.
        None => &SliceUpdate,
    }
}
