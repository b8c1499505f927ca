//! How the convolutions of this process were computed on a GPU.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::device::convolution_shape::{ConvolutionShape, Pass};

/// The method of a convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvolutionMethod {
    /// An algorithm of cuDNN.
    CuDnn {
        /// The number of the algorithm in `cudnn.h`, in the enum of its pass.
        algorithm: u32,
        /// The number formats it multiplies in: the name in `cudnn.h` without its prefix.
        math: &'static str,
        /// Whether it returns the same bits each time.
        deterministic: bool,
        /// Size of its workspace in bytes.
        workspace_bytes: usize,
        /// Whether memory was short when the algorithms were timed, so that a faster one may have been left out.
        constrained: bool,
    },
    /// Composed of candle's operations, for the given reason.
    Composed(String),
}

/// A convolution, and how it was last computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvolutionUse {
    /// The convolution or one of its gradients.
    pub pass: Pass,
    /// The shape.
    pub shape: ConvolutionShape,
    /// The method.
    pub method: ConvolutionMethod,
    /// How often it was computed.
    pub calls: u64,
}

type Uses = BTreeMap<(ConvolutionShape, Pass), (ConvolutionMethod, u64)>;

static USES: Mutex<Uses> = Mutex::new(BTreeMap::new());

/// All convolutions that this process computed on a GPU so far, sorted by shape.
pub fn convolution_report() -> Vec<ConvolutionUse> {
    let of = |((shape, pass), (method, calls)): (&(ConvolutionShape, Pass), &(ConvolutionMethod, u64))| {
        ConvolutionUse { pass: *pass, shape: *shape, method: method.clone(), calls: *calls }
    };
    uses().iter().map(of).collect()
}

/// Records one call.
pub(super) fn record_convolution(pass: Pass, shape: ConvolutionShape, method: &ConvolutionMethod) {
    let mut uses = uses();
    let (last, calls) = uses.entry((shape, pass)).or_insert_with(|| (method.clone(), 0));
    *calls += 1;
    if last != method {
        last.clone_from(method);
    }
}

fn uses() -> MutexGuard<'static, Uses> {
    // A thread that panicked while it held the lock has left a valid map.
    USES.lock().unwrap_or_else(PoisonError::into_inner)
}
