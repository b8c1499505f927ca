//! Gradients of the device backend: sums, and how they leave the backend.

use candle_core::{DType, Result, Tensor};

use crate::device::layout::{as_given, on_tape};
use crate::device::math_mode::set_tf32;
use crate::device::shape_cache::ShapeCache;
use crate::tape::gradient::Gradient;
use crate::tape::gradients::{Accumulate, Gradients};
use crate::tape::pass::{BackwardPass, PassGradients};
use crate::tape::record::{OnComplete, Record};

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
    /// Whether a GPU may round the factors of f32 products to TF32.
    pub(super) tf32: bool,
}

impl BackwardPass for DeviceBackwardPass {
    fn parameters(&self) -> &[Tensor] {
        self.record.parameters()
    }

    fn run(
        self: Box<Self>,
        gradient: &Tensor,
        on_complete: Option<OnComplete<'_, Gradient>>,
    ) -> Result<Box<dyn PassGradients>> {
        set_tf32(self.tf32);
        let _shapes = ShapeCache::enable(gradient.device());
        let gradient = on_tape(gradient, self.dtype)?;
        let gradients = match on_complete {
            Some(on_complete) => {
                let mut convert = |parameter: &Tensor, gradient| on_complete(parameter, Gradient::from(gradient));
                self.record.backward(self.output, gradient, Some(&mut convert))?
            }
            None => self.record.backward(self.output, gradient, None)?,
        };
        Ok(Box::new(gradients))
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::device::math_mode::tf32;
    use crate::{ComputeOptions, Precision, recorded};

    /// Two passes of different precision take turns, and each gradient is computed in the precision of its pass.
    #[test]
    fn the_gradient_has_the_precision_of_its_pass() {
        let x = candle_core::Var::zeros((1, 1), DType::F64, &Device::Cpu).expect("a variable");
        let begin = |precision| {
            let options = ComputeOptions { precision, ..ComputeOptions::default() };
            recorded(&options, &[x.as_tensor()], |tape, x| tape.silu(&x[0])).expect("a pass")
        };
        let (first, second) = (begin(Precision::Tf32), begin(Precision::F32));
        assert!(!tf32());
        first.backward(&x).expect("a gradient");
        assert!(tf32());
        second.backward(&x).expect("a gradient");
        assert!(!tf32());
    }
}
