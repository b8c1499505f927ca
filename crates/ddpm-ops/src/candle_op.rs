//! A whole forward pass as one operation of candle's.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};

use crate::buffer::Buffer;
use crate::cpu;
use crate::tape::{Gradients, Kind, Record, Tape, Value};

/// Runs `forward` on `inputs` and returns its result as a tensor, which candle can differentiate: by the inputs and by every
/// parameter that the operations used.
///
/// f32 tensors on the CPU go through the fused operations of this crate. All others go through candle's, with its gradients.
///
/// # Errors
/// Whatever `forward` says.
pub fn fused(inputs: &[&Tensor], forward: impl FnOnce(&Tape, &[Value]) -> Result<Value>) -> Result<Tensor> {
    let tape = Tape::default();
    if !cpu::takes(inputs) {
        let values: Vec<Value> = inputs.iter().map(|input| Value::from((*input).clone())).collect();
        return forward(&tape, &values)?.composed();
    }
    let leaf = |input: &&Tensor| -> Result<Value> {
        let values = cpu::with_slice(input, |values| Ok(Buffer::copy_of(values)))?;
        Ok(tape.leaf(values, input.dims(), input.track_op()))
    };
    let values = inputs.iter().map(leaf).collect::<Result<Vec<_>>>()?;
    let leaves: Vec<Option<usize>> = values.iter().map(|value| value.fused().and_then(|array| array.node)).collect();
    let out = forward(&tape, &values)?;
    drop(values);
    let Kind::Fused(out) = out.0 else { bail!("a fused forward pass ended in a composed value") };
    let values = match Arc::try_unwrap(out.values) {
        Ok(buffer) => buffer.into_vec(),
        Err(shared) => shared.to_vec(),
    };
    let result = Tensor::from_vec(values, out.dims.as_slice(), &candle_core::Device::Cpu)?;
    let Some(output) = out.node else { return Ok(result) };

    let record = tape.finish();
    let mut sources: Vec<(Tensor, Source)> = Vec::new();
    for (input, node) in inputs.iter().zip(leaves) {
        sources.extend(node.map(|node| ((*input).clone(), Source::Leaf(node))));
    }
    sources.extend(record.parameters.iter().map(|parameter| (parameter.clone(), Source::Parameter)));
    let gradients = Arc::new(Mutex::new(None));
    // A string of empty tensors that every source is tied to: candle reaches the sources through it.
    let mut string = Tensor::zeros(1, candle_core::DType::F32, &candle_core::Device::Cpu)?;
    for (tensor, source) in sources {
        string = string.apply_op2(&tensor, Tie { source, gradients: gradients.clone() })?;
    }
    string.apply_op1(Pass { result, output, record: Mutex::new(Some(record)), gradients })
}

type Shared = Arc<Mutex<Option<Gradients>>>;

#[derive(Debug, Clone, Copy)]
enum Source {
    Leaf(usize),
    Parameter,
}

/// Hands a source its gradient.
struct Tie {
    source: Source,
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
        let values = gradients.as_mut().and_then(|gradients| match self.source {
            Source::Leaf(node) => gradients.take(node).map(Buffer::into_vec),
            Source::Parameter => gradients.take_parameter(source),
        });
        let gradient = values.map(|values| Tensor::from_vec(values, source.shape(), source.device())).transpose()?;
        Ok((Some(string.zeros_like()?), gradient))
    }
}

/// The forward pass that has been done, and its record.
struct Pass {
    result: Tensor,
    output: usize,
    record: Mutex<Option<Record>>,
    gradients: Shared,
}

impl CustomOp1 for Pass {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = cpu::with_slice(&self.result, |values| Ok(values.to_vec()))?;
        cpu::result(values, self.result.shape())
    }

    fn bwd(&self, string: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(record) = record else {
            bail!("a fused forward pass can be differentiated once: its record is used up")
        };
        let gradient = cpu::with_slice(gradient, |values| Ok(Buffer::copy_of(values)))?;
        let gradients = record.backward(self.output, gradient)?;
        *self.gradients.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradients);
        Ok(Some(string.zeros_like()?))
    }
}
