//! Whether the GPU kernels are emulated on the CPU, which the tests do on machines without a GPU.

use std::sync::OnceLock;

/// True if the crate was built with the feature `emulated-kernels` and the environment variable `DDPM_EMULATE_CUDA` is
/// set. f32 tensors on the CPU then use the device backend instead of the CPU backend.
pub(crate) fn emulated() -> bool {
    static EMULATED: OnceLock<bool> = OnceLock::new();
    cfg!(feature = "emulated-kernels") && *EMULATED.get_or_init(|| std::env::var_os("DDPM_EMULATE_CUDA").is_some())
}
