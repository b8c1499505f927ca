//! Gradients of the device backend: sums, and how they leave the backend.

use candle_core::{DType, Result, Tensor};

use crate::device::layout::{as_given, on_tape};
use crate::tape::gradient::Gradient;
use crate::tape::gradients::{Accumulate, Gradients};
use crate::tape::pass::{BackwardPass, PassGradients};
use crate::tape::record::Record;

impl Accumulate for Tensor {
    fn add(&mut self, more: Self) -> Result<()> {
        // Two readers may have seen the value in two shapes.
        *self = (&*self + &more.reshape(self.shape())?)?;
        Ok(())
    }
}

/// The backward pass of a forward pass on a device.
#[derive(Debug)]
pub(super) struct DeviceBackwardPass {
    pub(super) record: Record<Tensor>,
    /// The node of the pass's output.
    pub(super) output: usize,
    /// The type that images are computed in.
    pub(super) dtype: DType,
}

impl BackwardPass for DeviceBackwardPass {
    fn parameters(&self) -> &[Tensor] {
        self.record.parameters()
    }

    fn run(self: Box<Self>, gradient: &Tensor) -> Result<Box<dyn PassGradients>> {
        let gradient = on_tape(gradient, self.dtype)?;
        Ok(Box::new(self.record.backward(self.output, gradient)?))
    }
}

impl PassGradients for Gradients<Tensor> {
    fn take_input(&mut self, node: usize, input: &Tensor) -> Result<Option<Tensor>> {
        self.take(node).map(|gradient| as_given(&gradient, input)).transpose()
    }

    fn take_parameter(&mut self, parameter: &Tensor) -> Option<Gradient> {
        Gradients::take_parameter(self, parameter).map(Gradient::from)
    }
}
