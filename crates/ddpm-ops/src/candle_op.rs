//! A whole forward pass as one operation of candle's.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use crate::buffer::Buffer;
use crate::cpu;
use crate::tape::{Gradients, Kind, Record, Tape, Value, add_to};

/// Runs `forward` on `inputs` and returns its result as a tensor, which candle can differentiate: by the inputs and by every
/// parameter that the operations used.
///
/// f32 tensors on the CPU go through the fused operations of this crate. All others go through candle's, with its gradients.
///
/// # Errors
/// Whatever `forward` says.
pub fn fused(inputs: &[&Tensor], forward: impl FnOnce(&Tape, &[Value]) -> Result<Value>) -> Result<Tensor> {
    recorded(inputs, forward)?.into_tensor()
}

/// The same for those who want the parameters' gradients themselves, without candle's backward pass: [`Recorded::backward`].
///
/// # Errors
/// Whatever `forward` says.
pub fn recorded(inputs: &[&Tensor], forward: impl FnOnce(&Tape, &[Value]) -> Result<Value>) -> Result<Recorded> {
    let tape = Tape::default();
    if !cpu::takes(inputs) {
        let values: Vec<Value> = inputs.iter().map(|input| Value::from((*input).clone())).collect();
        return Ok(forward(&tape, &values)?.composed()?.into());
    }
    let leaf = |input: &&Tensor| -> Result<Value> {
        let values = cpu::with_slice(input, |values| Ok(Buffer::copy_of(values)))?;
        Ok(tape.leaf(values, input.dims(), input.track_op()))
    };
    let values = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
    let node = |(input, value): (&&Tensor, &Value)| Some(((*input).clone(), value.fused()?.node?));
    let leaves = inputs.iter().zip(&values).filter_map(node).collect();
    let out = forward(&tape, &values)?;
    drop(values);
    let Kind::Fused(out) = out.0 else { bail!("a fused forward pass ended in a composed value") };
    let values = match Arc::try_unwrap(out.values) {
        Ok(buffer) => buffer.into_vec(),
        Err(shared) => shared.to_vec(),
    };
    let output = Tensor::from_vec(values, out.dims.as_slice(), &candle_core::Device::Cpu)?;
    let pass = out.node.map(|node| Pass { record: tape.finish(), node, leaves });
    Ok(Recorded { output, pass })
}

/// What a forward pass came to, with what its gradient needs.
#[derive(Debug)]
pub struct Recorded {
    output: Tensor,
    /// None where candle has the record, or nothing wants a gradient.
    pass: Option<Pass>,
}

#[derive(Debug)]
struct Pass {
    record: Record,
    node: usize,
    leaves: Vec<(Tensor, usize)>,
}

impl From<Tensor> for Recorded {
    /// A result that candle recorded.
    fn from(output: Tensor) -> Self {
        Self { output, pass: None }
    }
}

impl Recorded {
    /// The result, without its record.
    pub fn output(&self) -> Tensor {
        self.output.detach()
    }

    /// Gradients of every parameter that the pass used, given that of its result. Frees activations as it consumes them.
    ///
    /// # Errors
    /// When candle fails.
    pub fn backward(self, gradient: &Tensor) -> Result<ParameterGradients> {
        let Some(Pass { record, node, .. }) = self.pass else {
            let gradients = self.output.mul(gradient)?.sum_all()?.backward()?;
            return Ok(ParameterGradients(Source::Candle(gradients)));
        };
        let gradient = cpu::with_slice(gradient, |values| Ok(Buffer::copy_of(values)))?;
        Ok(ParameterGradients(Source::Tape(record.backward(node, gradient)?)))
    }

    /// The result as a tensor that candle can differentiate.
    ///
    /// # Errors
    /// When candle fails.
    pub fn into_tensor(self) -> Result<Tensor> {
        let Self { output, pass: Some(pass) } = self else { return Ok(self.output) };
        let leaves = pass.leaves.iter().map(|(tensor, node)| (tensor.clone(), Some(*node)));
        let parameters = pass.record.parameters.iter().map(|parameter| (parameter.clone(), None));
        let sources: Vec<_> = leaves.chain(parameters).collect();
        let gradients = Arc::new(Mutex::new(None));
        // A string of empty tensors that every source is tied to: candle reaches the sources through it.
        let mut string = Tensor::zeros(1, candle_core::DType::F32, &candle_core::Device::Cpu)?;
        for (tensor, leaf) in sources {
            string = string.apply_op2(&tensor, Tie { leaf, gradients: gradients.clone() })?;
        }
        string.apply_op1(Whole { output, pass: Mutex::new(Some(pass)), gradients })
    }
}

/// Gradients of parameters.
#[derive(Debug)]
pub struct ParameterGradients(Source);

#[derive(Debug)]
enum Source {
    Tape(Gradients),
    Candle(GradStore),
}

impl ParameterGradients {
    /// That of one parameter; None where it has none, or it was taken before.
    pub fn take(&mut self, parameter: &Tensor) -> Option<Gradient> {
        match &mut self.0 {
            Source::Tape(gradients) => {
                gradients.take_parameter(parameter).map(|values| Gradient(Values::Buffer(values)))
            }
            Source::Candle(gradients) => gradients.remove(parameter).map(Gradient::from),
        }
    }
}

/// The gradient of one parameter, in the parameter's order.
#[derive(Debug)]
pub struct Gradient(pub(crate) Values);

#[derive(Debug)]
pub(crate) enum Values {
    /// f32 on the CPU.
    Buffer(Buffer),
    Tensor(Tensor),
}

impl From<Tensor> for Gradient {
    fn from(tensor: Tensor) -> Self {
        Self(Values::Tensor(tensor))
    }
}

impl Gradient {
    /// Adds another gradient of the same parameter.
    ///
    /// # Errors
    /// When they are of different sizes or kinds.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        match (&mut self.0, &other.0) {
            (Values::Buffer(sum), Values::Buffer(more)) if sum.len() == more.len() => add_to(sum, more),
            (Values::Tensor(sum), Values::Tensor(more)) => *sum = (&*sum + more)?,
            _ => bail!("gradients of one parameter differ in size or kind"),
        }
        Ok(())
    }
}

type Shared = Arc<Mutex<Option<Gradients>>>;

/// Hands a source its gradient.
struct Tie {
    /// The node of an input; None for a parameter.
    leaf: Option<usize>,
    gradients: Shared,
}

impl CustomOp2 for Tie {
    fn name(&self) -> &'static str {
        "tie"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        cpu::result(vec![0.0], 1)
    }

    fn bwd(
        &self,
        string: &Tensor,
        source: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        let values = gradients.as_mut().and_then(|gradients: &mut Gradients| match self.leaf {
            Some(node) => gradients.take(node),
            None => gradients.take_parameter(source),
        });
        let tensor = |values: Buffer| Tensor::from_vec(values.into_vec(), source.shape(), source.device());
        Ok((Some(string.zeros_like()?), values.map(tensor).transpose()?))
    }
}

/// The forward pass that has been done.
struct Whole {
    output: Tensor,
    pass: Mutex<Option<Pass>>,
    gradients: Shared,
}

impl CustomOp1 for Whole {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = cpu::with_slice(&self.output, |values| Ok(values.to_vec()))?;
        cpu::result(values, self.output.shape())
    }

    fn bwd(&self, string: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Pass { record, node, .. }) = pass else {
            bail!("a fused forward pass can be differentiated once: its record is used up")
        };
        let gradient = cpu::with_slice(gradient, |values| Ok(Buffer::copy_of(values)))?;
        let gradients = record.backward(node, gradient)?;
        *self.gradients.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradients);
        Ok(Some(string.zeros_like()?))
    }
}
