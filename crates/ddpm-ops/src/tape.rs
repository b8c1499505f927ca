//! The record of a forward pass, for its gradient.
//!
//! candle's own tape takes operations of at most three inputs and adds every gradient to zeros first. Blocks of a network have a
//! dozen inputs, and gradients of activations are megabytes; so fused operations are recorded here, and a whole network is one
//! operation of candle's (`candle_op.rs`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor, TensorId, bail};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::vectorise::vectorise;
use crate::device::{DeviceArray, OnDevice};
use crate::prepacked::PackedWeights;

/// A tensor on its way through a network.
#[derive(Debug, Clone)]
pub struct Value(pub(crate) Kind);

/// Which operations a value takes.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// f32 on the CPU: the fused ones of this crate.
    Fused(Array),
    /// Those of this crate on tensors, channels last: on a GPU, or in another precision.
    Device(DeviceArray),
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
            Kind::Device(array) => &array.dims,
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
            Kind::Device(array) => Kind::Device(array.reshape(dims)?),
            Kind::Fused(array) => {
                if array.values.len() != dims.iter().product::<usize>() {
                    bail!("cannot see {:?} as {dims:?}", array.dims);
                }
                Kind::Fused(Array { dims: dims.to_vec(), ..array.clone() })
            }
        }))
    }

    /// The place of its gradient.
    pub(crate) fn node(&self) -> Option<usize> {
        match &self.0 {
            Kind::Fused(array) => array.node,
            Kind::Device(array) => array.node,
        }
    }

    /// The fused array; None for one on a device.
    pub(crate) fn fused(&self) -> Option<&Array> {
        match &self.0 {
            Kind::Fused(array) => Some(array),
            Kind::Device(_) => None,
        }
    }
}

/// What an operation does with the gradient of its output.
pub(crate) type Backward<G = Buffer> = Box<dyn FnOnce(G, &mut Gradients<G>) -> Result<()> + Send>;

/// Operations in the order they were done.
#[derive(Default)]
pub struct Tape {
    record: RefCell<Record>,
    pub(crate) device: OnDevice,
    /// Weights from passes before, where they do not change.
    pub(crate) prepacked: Option<PackedWeights>,
}

/// What a tape holds, with gradients of one kind.
pub(crate) struct Record<G = Buffer> {
    nodes: usize,
    operations: Vec<(usize, Backward<G>)>,
    /// The parameters that the operations used and that want a gradient, once each.
    pub(crate) parameters: Vec<Tensor>,
    known: HashMap<TensorId, ()>,
    /// Whether the parameters are all that is noted.
    quiet: bool,
}

impl std::fmt::Debug for Tape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tape").field("record", &self.record.borrow()).finish()
    }
}

impl<G> Default for Record<G> {
    fn default() -> Self {
        Self { nodes: 0, operations: Vec::new(), parameters: Vec::new(), known: HashMap::new(), quiet: false }
    }
}

impl<G> std::fmt::Debug for Record<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("operations", &self.operations.len()).finish_non_exhaustive()
    }
}

impl Tape {
    /// A tape that computes images on a device in that type.
    pub(crate) fn new(dtype: DType, prepacked: Option<PackedWeights>) -> Self {
        let device = OnDevice::new(dtype, prepacked.clone().unwrap_or_default());
        Self { device, prepacked, ..Self::default() }
    }

    /// A tape of its own for a part of this one's pass; a quiet one records nothing.
    pub(crate) fn alike(&self, quiet: bool) -> Self {
        let record = if quiet { Record::quiet() } else { Record::default() };
        Self { record: RefCell::new(record), device: self.device.alike(quiet), prepacked: self.prepacked.clone() }
    }

    /// A new place for the gradient of a value of that kind.
    pub(crate) fn place_like(&self, value: &Value) -> usize {
        match value.0 {
            Kind::Fused(_) => self.record.borrow_mut().node(),
            Kind::Device(_) => self.device.node(),
        }
    }

    /// A value that no operation made; its gradient is kept where `tracked`.
    pub(crate) fn leaf(&self, values: Buffer, dims: &[usize], tracked: bool) -> Value {
        let node = tracked.then(|| self.record.borrow_mut().node());
        Value(Kind::Fused(Array { values: Arc::new(values), dims: dims.to_vec(), node }))
    }

    /// A constant of the kind that `like` is of.
    ///
    /// # Errors
    /// When candle cannot convert it.
    pub fn constant(&self, tensor: &Tensor, like: &Value) -> Result<Value> {
        match &like.0 {
            Kind::Device(like) => self.device_constant(tensor, like),
            Kind::Fused(_) => {
                let tensor = tensor.to_dtype(candle_core::DType::F32)?;
                let values = crate::cpu::with_slice(&tensor, |values| Ok(Buffer::copy_of(values)))?;
                Ok(self.leaf(values, tensor.dims(), false))
            }
        }
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
        let node = self.record.borrow_mut().push(inputs, parameters, backward);
        Value(Kind::Fused(Array { values, dims: dims.to_vec(), node }))
    }

    /// The record.
    pub(crate) fn finish(self) -> Record {
        self.record.into_inner()
    }
}

impl<G: Sum> Record<G> {
    /// One that notes no operation, and of the parameters which were used.
    pub(crate) fn quiet() -> Self {
        Self { quiet: true, ..Self::default() }
    }

    /// The place of one more gradient.
    pub(crate) fn node(&mut self) -> usize {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Records an operation where any input or parameter wants a gradient; the place of its output's gradient.
    pub(crate) fn push(
        &mut self,
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        backward: impl FnOnce() -> Backward<G>,
    ) -> Option<usize> {
        let tracked: Vec<_> = parameters.iter().filter(|p| p.track_op()).collect();
        if tracked.is_empty() && inputs.iter().all(Option::is_none) {
            return None;
        }
        for parameter in tracked {
            if self.known.insert(parameter.id(), ()).is_none() {
                self.parameters.push((*parameter).clone());
            }
        }
        if self.quiet {
            return None;
        }
        let at = self.node();
        self.operations.push((at, backward()));
        Some(at)
    }

    /// Gradients of everything that the operations were given, from the gradient of the last one's output. Each operation's
    /// saved values are freed when it has been gone through.
    pub(crate) fn backward(self, output: usize, gradient: G) -> Result<Gradients<G>> {
        let nodes = (0..self.nodes).map(|_| None).collect();
        let mut gradients = Gradients { nodes, parameters: HashMap::new(), failed: Ok(()) };
        gradients.nodes[output] = Some(gradient);
        for (node, backward) in self.operations.into_iter().rev() {
            if let Some(gradient) = gradients.nodes[node].take() {
                backward(gradient, &mut gradients)?;
                std::mem::replace(&mut gradients.failed, Ok(()))?;
            }
        }
        Ok(gradients)
    }
}

/// What gradients are sums of.
pub(crate) trait Sum: Sized {
    /// `self += more`
    fn add(&mut self, more: Self) -> Result<()>;
}

impl Sum for Buffer {
    fn add(&mut self, more: Self) -> Result<()> {
        add_to(self, &more);
        Ok(())
    }
}

impl Sum for Tensor {
    fn add(&mut self, more: Self) -> Result<()> {
        // The same values may have been seen in two shapes.
        *self = (&*self + &more.reshape(self.shape())?)?;
        Ok(())
    }
}

/// Gradients on the way back.
#[derive(Debug)]
pub(crate) struct Gradients<G = Buffer> {
    nodes: Vec<Option<G>>,
    parameters: HashMap<TensorId, G>,
    /// The first sum that could not be made.
    failed: Result<()>,
}

impl<G: Sum> Gradients<G> {
    /// Adds to the gradient of a value, if it wants one.
    pub(crate) fn add(&mut self, node: Option<usize>, gradient: G) {
        let Some(node) = node else { return };
        match &mut self.nodes[node] {
            slot @ None => *slot = Some(gradient),
            Some(sum) => {
                let added = sum.add(gradient);
                self.note(added);
            }
        }
    }

    /// Adds to the gradient of a parameter, if it wants one.
    pub(crate) fn add_parameter(&mut self, parameter: &Tensor, gradient: G) {
        if !parameter.track_op() {
            return;
        }
        match self.parameters.entry(parameter.id()) {
            std::collections::hash_map::Entry::Vacant(slot) => drop(slot.insert(gradient)),
            std::collections::hash_map::Entry::Occupied(mut sum) => {
                let added = sum.get_mut().add(gradient);
                self.note(added);
            }
        }
    }

    /// Adds the gradients of parameters of a part of the pass.
    pub(crate) fn take_in_parameters(&mut self, part: Self) {
        for (id, gradient) in part.parameters {
            match self.parameters.entry(id) {
                std::collections::hash_map::Entry::Vacant(slot) => drop(slot.insert(gradient)),
                std::collections::hash_map::Entry::Occupied(mut sum) => {
                    let added = sum.get_mut().add(gradient);
                    self.note(added);
                }
            }
        }
    }

    fn note(&mut self, added: Result<()>) {
        if self.failed.is_ok() {
            self.failed = added;
        }
    }

    /// What is left of a leaf.
    pub(crate) fn take(&mut self, node: usize) -> Option<G> {
        self.nodes[node].take()
    }

    /// What a parameter got.
    pub(crate) fn take_parameter(&mut self, parameter: &Tensor) -> Option<G> {
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
