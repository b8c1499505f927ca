//! The seed of an operation that draws random numbers on the device.

use candle_core::{Result, Tensor, bail};

/// The seed of a random operation.
#[derive(Debug, Clone)]
pub(super) enum Seed {
    /// A number that the kernel receives.
    Value(u64),
    /// One element of i64 on the device, from which the kernel reads its bits. A captured step needs it, because its
    /// kernels receive the same numbers each time.
    Stored(Tensor),
}

impl Seed {
    /// The number, for operations without a kernel.
    ///
    /// # Errors
    /// When the seed is on the device.
    pub(super) fn value(&self) -> Result<u64> {
        match self {
            Self::Value(value) => Ok(*value),
            Self::Stored(_) => bail!("dropout without a kernel cannot be part of a captured step"),
        }
    }
}
