//! Forward passes: run a network on a tape, and return its result with the record that its gradient needs.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, bail};

use crate::candle_op::{self, TrackedInput};
use crate::compute_options::ComputeOptions;
use crate::dispatch;
use crate::ops::tape::Tape;
use crate::tape::gradient::Gradient;
use crate::tape::pass::{BackwardPass, FinishedPass, PassGradients};
use crate::tape::value::Value;

/// Runs `forward` on `inputs` and returns its result as a tensor that candle differentiates with respect to the
/// inputs and every parameter that the operations used.
///
/// The CPU backend computes f32 tensors on the CPU; the device backend computes f64, and tensors on a GPU.
///
/// # Errors
/// When `inputs` is empty, and those of `forward`.
pub fn fused(inputs: &[&Tensor], forward: impl FnOnce(&Tape, &[Value]) -> Result<Value>) -> Result<Tensor> {
    recorded(&ComputeOptions::default(), inputs, forward)?.into_tensor()
}

/// Like [`fused`], with options, and for callers that want the gradients of the parameters without candle's backward
/// pass ([`Recorded::backward`]). The result has the type of the first input.
///
/// # Errors
/// When `inputs` is empty, and those of `forward`.
pub fn recorded(
    options: &ComputeOptions,
    inputs: &[&Tensor],
    forward: impl FnOnce(&Tape, &[Value]) -> Result<Value>,
) -> Result<Recorded> {
    let Some(first) = inputs.first() else { bail!("a forward pass needs at least one input") };
    let tape = Tape::new(dispatch::backend(options, first, inputs)?);
    let leaf = |input: &&Tensor| tape.backend.leaf(input, input.track_op());
    let values = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
    let tracked = |(input, value): (&&Tensor, &Value)| Some(((*input).clone(), value.node()?));
    let tracked: Vec<TrackedInput> = inputs.iter().zip(&values).filter_map(tracked).collect();
    let output = forward(&tape, &values)?;
    // Freed before the end of the pass, so that a result that is one of the inputs need not be copied.
    drop(values);
    let FinishedPass { output, backward } = tape.backend.finish(output)?;
    Ok(Recorded { output: output.to_dtype(first.dtype())?, pass: backward.map(|backward| (backward, tracked)) })
}

/// The result of a forward pass, with the record that its gradient needs.
#[derive(Debug)]
pub struct Recorded {
    output: Tensor,
    /// The backward pass and the inputs that need a gradient. `None` if candle has the record, or nothing needs a
    /// gradient.
    pass: Option<(Box<dyn BackwardPass>, Vec<TrackedInput>)>,
}

impl From<Tensor> for Recorded {
    /// A result whose operations candle recorded.
    fn from(output: Tensor) -> Self {
        Self { output, pass: None }
    }
}

impl Recorded {
    /// The result, detached from its record.
    pub fn output(&self) -> Tensor {
        self.output.detach()
    }

    /// The gradients of all parameters that the pass used, given the gradient of its result. Saved tensors are freed as
    /// the backward pass goes.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn backward(self, gradient: &Tensor) -> Result<ParameterGradients> {
        Ok(ParameterGradients(match self.pass {
            Some((backward, _)) => backward.run(gradient, None)?,
            None => Box::new(self.output.mul(gradient)?.sum_all()?.backward()?),
        }))
    }

    /// Like [`Recorded::backward`], but calls `on_complete` with a parameter and its gradient as soon as the last
    /// operation that uses the parameter has run backward, while the pass goes on. The order is that of the backward
    /// pass: reversed, the order in which the forward pass first used the parameters.
    ///
    /// If candle has the record, all gradients are complete at the end of the pass, and their order is not defined.
    ///
    /// # Errors
    /// When the backend or `on_complete` fails.
    pub fn backward_with(
        self,
        gradient: &Tensor,
        on_complete: &mut dyn FnMut(TensorId, Gradient) -> Result<()>,
    ) -> Result<()> {
        match self.pass {
            Some((backward, _)) => {
                let mut report = |parameter: &Tensor, gradient| on_complete(parameter.id(), gradient);
                backward.run(gradient, Some(&mut report))?;
            }
            None => {
                let gradients = self.output.mul(gradient)?.sum_all()?.backward()?;
                for &id in gradients.get_ids() {
                    if let Some(gradient) = gradients.get_id(id) {
                        on_complete(id, Gradient::from(gradient.clone()))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The result as a tensor that candle can differentiate, once.
    ///
    /// # Errors
    /// When candle fails.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self.pass {
            Some((backward, inputs)) => candle_op::differentiable(self.output, backward, &inputs),
            None => Ok(self.output),
        }
    }
}

/// The gradients of parameters that [`Recorded::backward`] computed.
#[derive(Debug)]
pub struct ParameterGradients(Box<dyn PassGradients>);

impl ParameterGradients {
    /// Takes the gradient of one parameter; `None` if the pass did not use it, or it was taken before.
    pub fn take(&mut self, parameter: &Tensor) -> Option<Gradient> {
        self.0.take_parameter(parameter)
    }
}

impl PassGradients for GradStore {
    fn take_input(&mut self, _: usize, input: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.remove(input))
    }

    fn take_parameter(&mut self, parameter: &Tensor) -> Option<Gradient> {
        self.remove(parameter).map(Gradient::from)
    }
}
