//! In the place of the CUDA driver, in a program that was built without the feature `cuda`.

use candle_core::{Device, Error, Result};

/// How many GPUs there are.
///
/// # Errors
/// Always: nobody can be asked.
pub(crate) fn count() -> Result<usize> {
    Err(Error::NotCompiledWithCudaSupport)
}

/// The GPU of that number.
///
/// # Errors
/// Always.
pub(crate) fn open(_: usize) -> Result<Device> {
    Err(Error::NotCompiledWithCudaSupport)
}

/// How much of its memory is held: None, as it is no GPU.
pub(crate) fn memory_held(_: &Device) -> Option<f64> {
    None
}

/// What its maker calls it: None, as it is no GPU.
pub(crate) fn model(_: &Device) -> Option<String> {
    None
}
