//! Errors of CUDA and NCCL.

use std::time::Duration;

use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;

use crate::error::DistributedError;

/// The result of a call of NCCL.
pub(super) fn nccl<T>(call: &'static str, result: Result<T, NcclError>) -> Result<T, DistributedError> {
    result.map_err(|error| DistributedError::library("NCCL", format!("{call}: {:?}", error.0)))
}

/// The failure of a call of CUDA.
pub(super) fn cuda(call: &'static str, error: DriverError) -> DistributedError {
    DistributedError::library("CUDA", format!("{call}: {error}"))
}

/// The end of a wait for other ranks; NCCL does not say for which.
pub(super) fn any_rank(operation: impl Into<String>, waited: Duration) -> DistributedError {
    DistributedError::RankTimeout { operation: operation.into(), missing: Vec::new(), seconds: waited.as_secs_f64() }
}
