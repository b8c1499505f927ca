//! Tensors inside a forward pass.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use candle_core::{Error, Result, bail};

/// The elements of a [`Value`], in the layout of the backend that computed them.
pub(crate) trait Storage: Any + Debug + Send + Sync {
    /// The storage of the same elements seen in the shape `to` instead of the shape `from`.
    ///
    /// # Errors
    /// When the layout does not allow that view.
    fn reshape(self: Arc<Self>, from: &[usize], to: &[usize]) -> Result<Arc<dyn Storage>>;
}

/// A tensor inside a forward pass: an input, a constant, or the result of an operation of a [`crate::Tape`].
///
/// Cloning a value does not copy its elements.
#[derive(Debug, Clone)]
pub struct Value {
    storage: Arc<dyn Storage>,
    /// Axis lengths, [batch, channel, …] in every layout.
    dims: Vec<usize>,
    /// The index of its gradient in the record; `None` if it needs no gradient.
    node: Option<usize>,
}

impl Value {
    pub(crate) fn new(storage: Arc<dyn Storage>, dims: Vec<usize>, node: Option<usize>) -> Self {
        Self { storage, dims, node }
    }

    /// Axis lengths.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The axis lengths [batch, channel, height, width].
    ///
    /// # Errors
    /// When the value does not have four axes.
    pub fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        match *self.dims() {
            [a, b, c, d] => Ok((a, b, c, d)),
            _ => bail!("expected four axes, found {:?}", self.dims()),
        }
    }

    /// The same elements in another shape.
    ///
    /// The batch and channel axes should stay as they are: where a backend stores the channels last, no other change of
    /// shape is a view.
    ///
    /// # Errors
    /// When the number of elements differs, or the backend's layout does not allow the view.
    pub fn reshape(&self, dims: &[usize]) -> Result<Self> {
        if self.dims.iter().product::<usize>() != dims.iter().product::<usize>() {
            bail!("cannot reshape {:?} to {dims:?}: the number of elements differs", self.dims);
        }
        let storage = self.storage.clone().reshape(&self.dims, dims)?;
        Ok(Self { storage, dims: dims.to_vec(), node: self.node })
    }

    /// The index of the gradient in the record.
    pub(crate) fn node(&self) -> Option<usize> {
        self.node
    }

    /// The same elements with their gradient at another index.
    pub(crate) fn with_node(&self, node: Option<usize>) -> Self {
        Self { node, ..self.clone() }
    }

    /// The elements as the backend `S` belongs to stores them.
    ///
    /// # Errors
    /// When another backend computed the value.
    pub(crate) fn storage<S: Storage>(&self) -> Result<Arc<S>> {
        downcast(self.storage.clone())
    }

    /// Like [`Value::storage`], without keeping the value: if nothing else shares the elements, the result is their
    /// only owner.
    pub(crate) fn into_storage<S: Storage>(self) -> Result<Arc<S>> {
        downcast(self.storage)
    }
}

fn downcast<S: Storage>(storage: Arc<dyn Storage>) -> Result<Arc<S>> {
    let storage: Arc<dyn Any + Send + Sync> = storage;
    storage.downcast().map_err(|_| Error::msg("a value of a tape with another backend was given to an operation").bt())
}
