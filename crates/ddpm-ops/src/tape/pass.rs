//! A finished forward pass and its backward pass, without the type of the backend's gradients, so that the code that
//! connects them to candle serves every backend.

use std::fmt::Debug;

use candle_core::{Result, Tensor};

use crate::tape::gradient::Gradient;
use crate::tape::record::OnComplete;

/// The result of a forward pass.
#[derive(Debug)]
pub(crate) struct FinishedPass {
    /// The result, [batch, channel, …], not tracked by candle.
    pub(crate) output: Tensor,
    /// `None` if nothing needs a gradient.
    pub(crate) backward: Option<Box<dyn BackwardPass>>,
}

/// The backward pass that belongs to a forward pass.
pub(crate) trait BackwardPass: Debug + Send {
    /// The parameters that the pass used and that need a gradient.
    fn parameters(&self) -> &[Tensor];

    /// The gradients of leaves and parameters, given the gradient of the pass's output. With `on_complete`, the
    /// gradient of each parameter goes there as soon as it is complete, and the result has those of the leaves only.
    fn run(
        self: Box<Self>,
        gradient: &Tensor,
        on_complete: Option<OnComplete<'_, Gradient>>,
    ) -> Result<Box<dyn PassGradients>>;
}

/// The gradients that a backward pass computed.
pub(crate) trait PassGradients: Debug + Send + Sync {
    /// Takes the gradient of the input at `node`, as a tensor of the shape, type and layout of `input`.
    fn take_input(&mut self, node: usize, input: &Tensor) -> Result<Option<Tensor>>;

    /// Takes the gradient of a parameter; `None` if the pass did not use it, or it was taken before.
    fn take_parameter(&mut self, parameter: &Tensor) -> Option<Gradient>;
}
