//! Gradients of the CPU backend: sums, and how they leave the backend.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::tensor_slice::with_slice;
use crate::cpu::vectorize::vectorize;
use crate::tape::gradient::{Gradient, GradientStorage};
use crate::tape::gradients::{Accumulate, Gradients};
use crate::tape::pass::{BackwardPass, PassGradients};
use crate::tape::record::{OnComplete, Record};

impl Accumulate for Buffer {
    fn add(&mut self, more: Self) -> Result<()> {
        add_to(self, &more);
        Ok(())
    }
}

/// `sum += more`, on all threads.
pub(in crate::cpu) fn add_to(sum: &mut [f32], more: &[f32]) {
    /// Number of elements that a thread processes at a time.
    const CHUNK: usize = 1 << 15;
    sum.par_chunks_mut(CHUNK).zip(more.par_chunks(CHUNK)).for_each(|(sum, more)| {
        vectorize(
            #[inline(always)]
            |_| sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more),
        );
    });
}

impl GradientStorage for Buffer {
    fn to_tensor(&self, parameter: &Tensor) -> Result<Tensor> {
        Tensor::from_slice(self, parameter.shape(), parameter.device())?.to_dtype(parameter.dtype())
    }

    fn into_tensor(self: Box<Self>, parameter: &Tensor) -> Result<Tensor> {
        Tensor::from_vec(self.into_vec(), parameter.shape(), parameter.device())?.to_dtype(parameter.dtype())
    }

    fn as_tensor(&self) -> Option<&Tensor> {
        None
    }

    fn elem_count(&self) -> usize {
        self.len()
    }

    fn add(&mut self, other: &dyn GradientStorage) -> Result<()> {
        match (other as &dyn std::any::Any).downcast_ref::<Self>() {
            Some(other) if other.len() == self.len() => add_to(self, other),
            _ => bail!("gradients of one parameter differ in size, or were computed by two backends"),
        }
        Ok(())
    }
}

/// Calls `f` with the elements of a gradient of f32 on the CPU.
pub(in crate::cpu) fn with_elements<R>(gradient: &Gradient, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    match (gradient.storage::<Buffer>(), gradient.as_tensor()) {
        (Some(buffer), _) => f(buffer),
        (None, Some(tensor)) => with_slice(tensor, f),
        (None, None) => bail!("expected a gradient on the CPU"),
    }
}

/// The backward pass of a forward pass on the CPU.
#[derive(Debug)]
pub(in crate::cpu) struct CpuBackwardPass {
    pub(in crate::cpu) record: Record<Buffer>,
    /// The node of the pass's output.
    pub(in crate::cpu) output: usize,
}

impl BackwardPass for CpuBackwardPass {
    fn parameters(&self) -> &[Tensor] {
        self.record.parameters()
    }

    fn run(
        self: Box<Self>,
        gradient: &Tensor,
        on_complete: Option<OnComplete<'_, Gradient>>,
    ) -> Result<Box<dyn PassGradients>> {
        let gradient = with_slice(gradient, |values| Ok(Buffer::copy_of(values)))?;
        let gradients = match on_complete {
            Some(on_complete) => {
                let mut convert = |parameter: &Tensor, gradient| on_complete(parameter, Gradient::new(gradient));
                self.record.backward(self.output, gradient, Some(&mut convert))?
            }
            None => self.record.backward(self.output, gradient, None)?,
        };
        Ok(Box::new(gradients))
    }
}

impl PassGradients for Gradients<Buffer> {
    fn take_input(&mut self, node: usize, input: &Tensor) -> Result<Option<Tensor>> {
        let gradient = self.take(node);
        gradient.map(|values| Tensor::from_vec(values.into_vec(), input.shape(), input.device())).transpose()
    }

    fn take_parameter(&mut self, parameter: &Tensor) -> Option<Gradient> {
        Gradients::take_parameter(self, parameter).map(Gradient::new)
    }
}
