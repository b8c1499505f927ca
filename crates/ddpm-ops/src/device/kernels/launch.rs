//! Launching a kernel on a GPU, or on the CPU for tests.

use candle_core::{Device, Result, bail};

use crate::device::kernels::elements::Elements;
#[cfg(feature = "emulated-kernels")]
use crate::device::kernels::emulated;
#[cfg(feature = "cuda")]
use crate::device::kernels::gpu;
use crate::device::kernels::launch_shape::LaunchShape;

/// Launches a kernel.
///
/// `args` is the twin of the structure that the kernel takes. Every address in it is that of memory on `device` that is
/// at least as long as the other fields imply and that lives until this function returns. A GPU reuses memory that is
/// freed afterwards only for operations that follow the kernel in its stream.
pub(super) fn launch<A: Copy>(
    device: &Device,
    elements: Elements,
    kernel: &'static str,
    shape: LaunchShape,
    args: &A,
) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => gpu::launch(device, elements, kernel, shape, args),
        #[cfg(feature = "emulated-kernels")]
        Device::Cpu => emulated::launch(elements, kernel, shape, args),
        _ => {
            let _ = (elements, shape, args);
            bail!("kernel {kernel}: expected a CUDA device, found {device:?}")
        }
    }
}
