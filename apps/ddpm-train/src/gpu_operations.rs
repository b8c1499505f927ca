//! How the operations of this process were computed on a GPU, as part of the report of `--benchmark`.

use ddpm_ops::{ConvolutionMethod, ConvolutionUse, Fallback};
use serde::Serialize;

/// An operation without a kernel, composed of slower ones.
#[derive(Debug, Serialize)]
pub(crate) struct ComposedOperation {
    operation: String,
    reason: String,
    calls: u64,
}

impl From<Fallback> for ComposedOperation {
    fn from(Fallback { operation, reason, calls }: Fallback) -> Self {
        Self { operation, reason, calls }
    }
}

/// A convolution that cuDNN computed.
#[derive(Debug, Serialize)]
pub(crate) struct CudnnConvolution {
    pass: String,
    shape: String,
    /// The number of the algorithm in `cudnn.h`, in the enum of its pass.
    algorithm: u32,
    math: &'static str,
    deterministic: bool,
    workspace_bytes: usize,
    /// Whether memory was short when the algorithms were timed.
    constrained: bool,
    calls: u64,
}

/// All operations that were composed so far.
pub(crate) fn composed_operations() -> Vec<ComposedOperation> {
    ddpm_ops::fallbacks().into_iter().map(ComposedOperation::from).collect()
}

/// All convolutions that cuDNN computed so far.
pub(crate) fn cudnn_convolutions() -> Vec<CudnnConvolution> {
    ddpm_ops::convolution_report().into_iter().filter_map(cudnn_convolution).collect()
}

fn cudnn_convolution(ConvolutionUse { pass, shape, method, calls }: ConvolutionUse) -> Option<CudnnConvolution> {
    match method {
        ConvolutionMethod::CuDnn { algorithm, math, deterministic, workspace_bytes, constrained } => {
            let (pass, shape) = (pass.to_string(), shape.to_string());
            Some(CudnnConvolution { pass, shape, algorithm, math, deterministic, workspace_bytes, constrained, calls })
        }
        ConvolutionMethod::Composed(_) => None,
    }
}
