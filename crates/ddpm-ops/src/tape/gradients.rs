//! The gradients that a backward pass accumulates.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use candle_core::{Result, Tensor, TensorId};

/// A type of gradient that can be summed in place.
pub(crate) trait Accumulate: Sized + 'static {
    /// `self += more`
    fn add(&mut self, more: Self) -> Result<()>;
}

/// The gradients of a backward pass: those that its remaining operations still have to read, and those of the
/// parameters.
#[derive(Debug)]
pub(crate) struct Gradients<G> {
    nodes: Vec<Option<G>>,
    parameters: HashMap<TensorId, G>,
    /// The error of the first sum that failed. Operations report gradients without handling errors; the record returns
    /// this one after each operation.
    error: Option<candle_core::Error>,
}

impl<G: Accumulate> Gradients<G> {
    /// No gradient yet, for values of that many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self { nodes: (0..nodes).map(|_| None).collect(), parameters: HashMap::new(), error: None }
    }

    /// Adds to the gradient of a value, if the value needs one.
    pub(crate) fn add(&mut self, node: Option<usize>, gradient: G) {
        let Some(node) = node else { return };
        match &mut self.nodes[node] {
            slot @ None => *slot = Some(gradient),
            Some(sum) => {
                let added = sum.add(gradient);
                self.keep_error(added);
            }
        }
    }

    /// Adds to the gradient of a parameter, if the parameter needs one.
    pub(crate) fn add_parameter(&mut self, parameter: &Tensor, gradient: G) {
        if parameter.track_op() {
            self.add_to(parameter.id(), gradient);
        }
    }

    /// Adds the parameter gradients of a part of the pass that was differentiated on its own.
    pub(crate) fn merge_parameters(&mut self, part: Self) {
        for (id, gradient) in part.parameters {
            self.add_to(id, gradient);
        }
    }

    fn add_to(&mut self, parameter: TensorId, gradient: G) {
        match self.parameters.entry(parameter) {
            Entry::Vacant(slot) => drop(slot.insert(gradient)),
            Entry::Occupied(mut sum) => {
                let added = sum.get_mut().add(gradient);
                self.keep_error(added);
            }
        }
    }

    fn keep_error(&mut self, added: Result<()>) {
        if let (None, Err(error)) = (&self.error, added) {
            self.error = Some(error);
        }
    }

    /// The first error since the last call.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Takes the gradient of a value; `None` if nothing reached it, or it was taken before.
    pub(crate) fn take(&mut self, node: usize) -> Option<G> {
        self.nodes[node].take()
    }

    /// Takes the gradient of a parameter; `None` if nothing reached it, or it was taken before.
    pub(crate) fn take_parameter(&mut self, parameter: &Tensor) -> Option<G> {
        self.parameters.remove(&parameter.id())
    }
}
