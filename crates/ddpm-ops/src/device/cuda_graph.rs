//! Capturing the operations of a stream as a CUDA graph.

use std::fmt::{self, Debug, Formatter};

use candle_core::cuda_backend::cudarc::driver::CudaGraph;
use candle_core::cuda_backend::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use candle_core::{CudaDevice, Device, Error, Result, bail};

use crate::device::cudnn::{Workspace, workspace};
use crate::device::kernels::release_freed_memory;
use crate::device::shape_cache::ShapeCache;

/// Captured operations.
pub(super) struct CapturedGraph {
    graph: CudaGraph,
    /// The workspace that the captured convolutions use. cuDNN's state may replace it by a larger one.
    _workspace: Option<Workspace>,
}

impl Debug for CapturedGraph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturedGraph").finish_non_exhaustive()
    }
}

impl CapturedGraph {
    /// Captures what `operations` starts on the device's stream. Memory that it allocates belongs to the graph, which
    /// uses it again in each replay, so no tensor may leave `operations`.
    pub(super) fn capture(device: &CudaDevice, operations: impl FnOnce() -> Result<()>) -> Result<Self> {
        let stream = device.cuda_stream();
        // The graph allocates memory of its own for all that a step allocates.
        release_freed_memory(device)?;
        // With the cache, candle reports an upload that is not in it, which a graph could not repeat.
        let _shapes = ShapeCache::enable(&Device::Cuda(device.clone()));
        // Other threads may use the device meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).map_err(Error::wrap)?;
        let result = operations();
        // The capture is ended in any case, because until then the stream computes nothing.
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = stream.end_capture(flags);
        result?;
        let Some(graph) = graph.map_err(Error::wrap)? else { bail!("the captured step contains no operation") };
        Ok(Self { graph, _workspace: workspace(device) })
    }

    /// Computes the captured operations, in order with the others of the stream.
    pub(super) fn launch(&self) -> Result<()> {
        self.graph.launch().map_err(Error::wrap)
    }
}
