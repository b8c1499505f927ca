//! A whole forward pass as one operation of candle's.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, bail};

use crate::computation::{ComputeOptions, Precision};
use crate::cpu::buffer::Buffer;
use crate::tape::{Gradients, Kind, Record, Tape, Value, add_to};
use crate::{cpu, device};

/// Runs `forward` on `inputs` and returns its result as a tensor, which candle can differentiate: by the inputs and by every
/// parameter that the operations used.
///
/// f32 tensors on the CPU go through the fused operations of this crate; f64, and tensors on a GPU, through those of channels
/// last.
///
/// # Errors
/// Whatever `forward` says.
pub fn fused(inputs: &[&Tensor], forward: impl FnOnce(&Tape, &[Value]) -> Result<Value>) -> Result<Tensor> {
    recorded(&ComputeOptions::default(), inputs, forward)?.into_tensor()
}

/// The same for those who want the parameters' gradients themselves, without candle's backward pass ([`Recorded::backward`]), or
/// another way to compute. The result is of the first input's type.
///
/// # Errors
/// Whatever `forward` says.
pub fn recorded(
    computation: &ComputeOptions,
    inputs: &[&Tensor],
    forward: impl FnOnce(&Tape, &[Value]) -> Result<Value>,
) -> Result<Recorded> {
    let Some(first) = inputs.first() else { bail!("a forward pass of no input") };
    let precision = computation.precision;
    let on_device = precision == Precision::Bf16 || !cpu::takes(inputs);
    let dtype = precision.dtype(first.dtype());
    let tape = Tape::new(dtype, computation.prepacked.clone());
    #[cfg(feature = "cuda")]
    if first.device().is_cuda() {
        // Of matrices and, in `device::cudnn`, of convolutions.
        candle_core::cuda_backend::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
    }
    let leaf = |input: &&Tensor| {
        if on_device {
            return tape.device_leaf(input, input.track_op());
        }
        let values = cpu::with_slice(input, |values| Ok(Buffer::copy_of(values)))?;
        Ok(tape.leaf(values, input.dims(), input.track_op()))
    };
    let values = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
    let node = |(input, value): (&&Tensor, &Value)| Some(((*input).clone(), value.node()?));
    let leaves = inputs.iter().zip(&values).filter_map(node).collect();
    let out = forward(&tape, &values)?;
    drop(values);
    let (output, pass) = match out.0 {
        Kind::Fused(out) => {
            let values = match Arc::try_unwrap(out.values) {
                Ok(buffer) => buffer.into_vec(),
                Err(shared) => shared.to_vec(),
            };
            let output = Tensor::from_vec(values, out.dims.as_slice(), &candle_core::Device::Cpu)?;
            (output, out.node.map(|node| (node, Steps::Fused(tape.finish()))))
        }
        Kind::Device(out) => {
            let output = out.channels_first()?.to_dtype(first.dtype())?;
            (output, out.node.map(|node| (node, Steps::Device(tape.device.finish(), dtype))))
        }
    };
    Ok(Recorded { output, pass: pass.map(|(node, steps)| Pass { steps, node, leaves }) })
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
    steps: Steps,
    node: usize,
    leaves: Vec<(Tensor, usize)>,
}

#[derive(Debug)]
enum Steps {
    Fused(Record),
    /// With the type that images are computed in.
    Device(Record<Tensor>, DType),
}

impl Pass {
    fn parameters(&self) -> &[Tensor] {
        match &self.steps {
            Steps::Fused(record) => &record.parameters,
            Steps::Device(record, _) => &record.parameters,
        }
    }

    fn backward(self, gradient: &Tensor) -> Result<Source> {
        Ok(match self.steps {
            Steps::Fused(record) => {
                let gradient = cpu::with_slice(gradient, |values| Ok(Buffer::copy_of(values)))?;
                Source::Fused(record.backward(self.node, gradient)?)
            }
            Steps::Device(record, dtype) => {
                Source::Device(record.backward(self.node, device::as_computed(gradient, dtype)?)?)
            }
        })
    }
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
        Ok(ParameterGradients(match self.pass {
            Some(pass) => pass.backward(gradient)?,
            None => Source::Candle(self.output.mul(gradient)?.sum_all()?.backward()?),
        }))
    }

    /// The result as a tensor that candle can differentiate.
    ///
    /// # Errors
    /// When candle fails.
    pub fn into_tensor(self) -> Result<Tensor> {
        let Self { mut output, pass: Some(pass) } = self else { return Ok(self.output) };
        // A view of a part: what is handed to candle below is the storage as a whole.
        if output.layout().start_offset() > 0 {
            output = output.force_contiguous()?;
        }
        let leaves = pass.leaves.iter().map(|(tensor, node)| (tensor.clone(), Some(*node)));
        let parameters = pass.parameters().iter().map(|parameter| (parameter.clone(), None));
        let sources: Vec<_> = leaves.chain(parameters).collect();
        let gradients = Arc::new(Mutex::new(None));
        // A string of empty tensors that every source is tied to: candle reaches the sources through it.
        let mut string = Tensor::zeros(1, output.dtype(), output.device())?;
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
    Fused(Gradients),
    Device(Gradients<Tensor>),
    Candle(GradStore),
}

impl Source {
    /// The gradient of an input, by its node, or of a parameter, as a tensor like it.
    fn tensor(&mut self, node: Option<usize>, like: &Tensor) -> Result<Option<Tensor>> {
        match (self, node) {
            (Self::Fused(gradients), node) => {
                let values = match node {
                    Some(node) => gradients.take(node),
                    None => gradients.take_parameter(like),
                };
                values.map(|values| Tensor::from_vec(values.into_vec(), like.shape(), like.device())).transpose()
            }
            (Self::Device(gradients), Some(node)) => {
                gradients.take(node).map(|gradient| device::as_given(&gradient, like)).transpose()
            }
            (Self::Device(gradients), None) => Ok(gradients.take_parameter(like)),
            (Self::Candle(gradients), _) => Ok(gradients.remove(like)),
        }
    }
}

impl ParameterGradients {
    /// That of one parameter; None where it has none, or it was taken before.
    pub fn take(&mut self, parameter: &Tensor) -> Option<Gradient> {
        match &mut self.0 {
            Source::Fused(gradients) => {
                gradients.take_parameter(parameter).map(|values| Gradient(Values::Buffer(values)))
            }
            Source::Device(gradients) => gradients.take_parameter(parameter).map(Gradient::from),
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
    /// As a tensor like its parameter.
    ///
    /// # Errors
    /// When the parameter is another one's.
    pub fn to_tensor(&self, parameter: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Values::Buffer(values) => Tensor::from_slice(values, parameter.shape(), parameter.device()),
            Values::Tensor(tensor) => tensor.reshape(parameter.shape()),
        }
    }

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

type Shared = Arc<Mutex<Option<Source>>>;

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

    fn cpu_fwd(&self, string: &CpuStorage, l: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((string.try_clone(l)?, l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        string: &candle_core::CudaStorage,
        l: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        Ok((string.try_clone(l)?, l.shape().clone()))
    }

    fn bwd(
        &self,
        string: &Tensor,
        source: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut gradients = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = gradients.as_mut().map(|gradients: &mut Source| gradients.tensor(self.leaf, source));
        Ok((Some(string.zeros_like()?), gradient.transpose()?.flatten()))
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
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("a forward pass of another device"),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &candle_core::CudaStorage, _: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("a forward pass of another device"),
        }
    }

    fn bwd(&self, string: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let pass = self.pass.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(pass) = pass else { bail!("a fused forward pass can be differentiated once: its record is used up") };
        *self.gradients.lock().unwrap_or_else(PoisonError::into_inner) = Some(pass.backward(gradient)?);
        Ok(Some(string.zeros_like()?))
    }
}
