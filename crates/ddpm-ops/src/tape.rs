//! The record of a forward pass, for its gradient.
//!
//! candle's own tape takes operations of at most three inputs and adds every gradient to zeros first. Blocks of a network have a
//! dozen inputs, and gradients of activations are megabytes; so fused operations are recorded here, and a whole network is one
//! operation of candle's (`candle_op.rs`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, TensorId, bail};
use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::vectorise::vectorise;

/// A tensor on its way through a network.
#[derive(Debug, Clone)]
pub struct Value(pub(crate) Kind);

/// Which operations a value takes.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// f32 on the CPU: the fused ones of this crate.
    Fused(Array),
    /// Anything else: candle's, with candle's gradients.
    Composed(Tensor),
}

/// f32 values on the CPU, row-major.
#[derive(Debug, Clone)]
pub(crate) struct Array {
    pub(crate) values: Arc<Buffer>,
    pub(crate) dims: Vec<usize>,
    /// The place of its gradient; None where none is wanted.
    pub(crate) node: Option<usize>,
}

impl Value {
    /// Axis lengths.
    pub fn dims(&self) -> &[usize] {
        match &self.0 {
            Kind::Fused(array) => &array.dims,
            Kind::Composed(tensor) => tensor.dims(),
        }
    }

    /// [batch, channel, height, width].
    ///
    /// # Errors
    /// When there are not four axes.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        match *self.dims() {
            [a, b, c, d] => Ok((a, b, c, d)),
            _ => bail!("expected four axes, found {:?}", self.dims()),
        }
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&self, dims: &[usize]) -> Result<Self> {
        Ok(Self(match &self.0 {
            Kind::Composed(tensor) => Kind::Composed(tensor.reshape(dims)?),
            Kind::Fused(array) => {
                if array.values.len() != dims.iter().product::<usize>() {
                    bail!("cannot see {:?} as {dims:?}", array.dims);
                }
                Kind::Fused(Array { dims: dims.to_vec(), ..array.clone() })
            }
        }))
    }

    /// The fused array; None where candle's operations are to be used.
    pub(crate) fn fused(&self) -> Option<&Array> {
        match &self.0 {
            Kind::Fused(array) => Some(array),
            Kind::Composed(_) => None,
        }
    }

    /// As a tensor of candle's, for its operations.
    pub(crate) fn composed(&self) -> Result<Tensor> {
        match &self.0 {
            Kind::Composed(tensor) => Ok(tensor.clone()),
            Kind::Fused(array) => Tensor::from_slice(&array.values, array.dims.as_slice(), &Device::Cpu),
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self(Kind::Composed(tensor))
    }
}

/// What an operation does with the gradient of its output.
pub(crate) type Backward = Box<dyn FnOnce(Buffer, &mut Gradients) -> Result<()> + Send>;

/// Operations in the order they were done.
#[derive(Default)]
pub struct Tape {
    record: RefCell<Record>,
}

/// What a tape holds.
#[derive(Default)]
pub(crate) struct Record {
    nodes: usize,
    operations: Vec<(usize, Backward)>,
    /// The parameters that the operations used and that want a gradient, once each.
    pub(crate) parameters: Vec<Tensor>,
    known: HashMap<TensorId, ()>,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("record", &self.record.borrow()).finish()
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("operations", &self.operations.len()).finish_non_exhaustive()
    }
}

impl Tape {
    /// A value that no operation made; its gradient is kept where `tracked`.
    pub(crate) fn leaf(&self, values: Buffer, dims: &[usize], tracked: bool) -> Value {
        let node = tracked.then(|| self.node());
        Value(Kind::Fused(Array { values: Arc::new(values), dims: dims.to_vec(), node }))
    }

    /// A constant of the kind that `like` is of.
    ///
    /// # Errors
    /// When candle cannot convert it.
    pub fn constant(&self, tensor: &Tensor, like: &Value) -> Result<Value> {
        match &like.0 {
            Kind::Composed(like) => Ok(Value(Kind::Composed(tensor.to_device(like.device())?.to_dtype(like.dtype())?))),
            Kind::Fused(_) => {
                let tensor = tensor.to_dtype(candle_core::DType::F32)?;
                let values = crate::cpu::with_slice(&tensor, |values| Ok(Buffer::copy_of(values)))?;
                Ok(self.leaf(values, tensor.dims(), false))
            }
        }
    }

    fn node(&self) -> usize {
        let mut record = self.record.borrow_mut();
        record.nodes += 1;
        record.nodes - 1
    }

    /// Records an operation whose output is `values`: `backward` where any input or parameter wants a gradient.
    pub(crate) fn push(
        &self,
        values: Arc<Buffer>,
        dims: &[usize],
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        backward: impl FnOnce() -> Backward,
    ) -> Value {
        let tracked: Vec<_> = parameters.iter().filter(|p| p.track_op()).collect();
        let mut node = None;
        if !tracked.is_empty() || inputs.iter().any(Option::is_some) {
            let at = self.node();
            let mut record = self.record.borrow_mut();
            for parameter in tracked {
                if record.known.insert(parameter.id(), ()).is_none() {
                    record.parameters.push((*parameter).clone());
                }
            }
            record.operations.push((at, backward()));
            node = Some(at);
        }
        Value(Kind::Fused(Array { values, dims: dims.to_vec(), node }))
    }

    /// The record, which the tape begins anew.
    pub(crate) fn finish(self) -> Record {
        self.record.into_inner()
    }
}

impl Record {
    /// Gradients of everything that the operations were given, from the gradient of the last one's output. Each operation's
    /// saved values are freed when it has been gone through.
    pub(crate) fn backward(self, output: usize, gradient: Buffer) -> Result<Gradients> {
        let mut gradients = Gradients { nodes: (0..self.nodes).map(|_| None).collect(), parameters: HashMap::new() };
        gradients.nodes[output] = Some(gradient);
        for (node, backward) in self.operations.into_iter().rev() {
            if let Some(gradient) = gradients.nodes[node].take() {
                backward(gradient, &mut gradients)?;
            }
        }
        Ok(gradients)
    }
}

/// Gradients on the way back.
#[derive(Debug)]
pub(crate) struct Gradients {
    nodes: Vec<Option<Buffer>>,
    parameters: HashMap<TensorId, Buffer>,
}

impl Gradients {
    /// Adds to the gradient of a value, if it wants one.
    pub(crate) fn add(&mut self, node: Option<usize>, gradient: Buffer) {
        let Some(node) = node else { return };
        match &mut self.nodes[node] {
            slot @ None => *slot = Some(gradient),
            Some(sum) => add_to(sum, &gradient),
        }
    }

    /// Adds to the gradient of a parameter, if it wants one.
    pub(crate) fn add_parameter(&mut self, parameter: &Tensor, gradient: Buffer) {
        if !parameter.track_op() {
            return;
        }
        match self.parameters.entry(parameter.id()) {
            std::collections::hash_map::Entry::Vacant(slot) => drop(slot.insert(gradient)),
            std::collections::hash_map::Entry::Occupied(mut sum) => add_to(sum.get_mut(), &gradient),
        }
    }

    /// What is left of a leaf.
    pub(crate) fn take(&mut self, node: usize) -> Option<Buffer> {
        self.nodes[node].take()
    }

    /// What a parameter got.
    pub(crate) fn take_parameter(&mut self, parameter: &Tensor) -> Option<Buffer> {
        self.parameters.remove(&parameter.id())
    }
}

/// `sum += more`, on all threads.
pub(crate) fn add_to(sum: &mut [f32], more: &[f32]) {
    const PART: usize = 1 << 15;
    sum.par_chunks_mut(PART).zip(more.par_chunks(PART)).for_each(|(sum, more)| {
        vectorise(
            #[inline(always)]
            |_| sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more),
        );
    });
}
