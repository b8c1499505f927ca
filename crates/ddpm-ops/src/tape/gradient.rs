//! The gradient of one parameter.

use std::any::Any;
use std::fmt::Debug;

use candle_core::{Result, Tensor, bail};

/// The elements of a [`Gradient`], as the backend that computed it stores them.
pub(crate) trait GradientStorage: Any + Debug + Send + Sync {
    /// A tensor of the parameter's shape, dtype and device.
    fn to_tensor(&self, parameter: &Tensor) -> Result<Tensor>;

    /// Like [`Self::to_tensor`], without a copy if possible.
    fn into_tensor(self: Box<Self>, parameter: &Tensor) -> Result<Tensor>;

    /// The tensor that holds the elements, if it is one of candle's.
    fn as_tensor(&self) -> Option<&Tensor>;

    /// The number of elements.
    fn elem_count(&self) -> usize;

    /// `self += other`; fails if the two differ in type or size.
    fn add(&mut self, other: &dyn GradientStorage) -> Result<()>;
}

/// The gradient of one parameter, with its elements in the parameter's order.
#[derive(Debug)]
pub struct Gradient(Box<dyn GradientStorage>);

impl From<Tensor> for Gradient {
    fn from(tensor: Tensor) -> Self {
        Self(Box::new(tensor))
    }
}

impl Gradient {
    pub(crate) fn new(storage: impl GradientStorage) -> Self {
        Self(Box::new(storage))
    }

    /// The elements, if they are stored as an `S`.
    pub(crate) fn storage<S: GradientStorage>(&self) -> Option<&S> {
        (&*self.0 as &dyn Any).downcast_ref()
    }

    /// The tensor that holds the elements, if it is one of candle's.
    pub(crate) fn as_tensor(&self) -> Option<&Tensor> {
        self.0.as_tensor()
    }

    /// The number of elements.
    pub fn elem_count(&self) -> usize {
        self.0.elem_count()
    }

    /// A tensor of the shape, dtype and device of `parameter`.
    ///
    /// # Errors
    /// When `parameter` has another number of elements.
    pub fn to_tensor(&self, parameter: &Tensor) -> Result<Tensor> {
        self.0.to_tensor(parameter)
    }

    pub(crate) fn into_tensor(self, parameter: &Tensor) -> Result<Tensor> {
        self.0.into_tensor(parameter)
    }

    /// Adds another gradient of the same parameter, as gradient accumulation does.
    ///
    /// # Errors
    /// When the two differ in size, or were computed by different backends.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        self.0.add(&*other.0)
    }
}

impl GradientStorage for Tensor {
    fn to_tensor(&self, parameter: &Tensor) -> Result<Tensor> {
        self.reshape(parameter.shape())?.to_dtype(parameter.dtype())
    }

    fn into_tensor(self: Box<Self>, parameter: &Tensor) -> Result<Tensor> {
        self.reshape(parameter.shape())?.to_dtype(parameter.dtype())
    }

    fn as_tensor(&self) -> Option<&Tensor> {
        Some(self)
    }

    fn elem_count(&self) -> usize {
        Tensor::elem_count(self)
    }

    fn add(&mut self, other: &dyn GradientStorage) -> Result<()> {
        let Some(other) = other.as_tensor() else { bail!("gradients of one parameter were computed by two backends") };
        *self = (&*self + other)?;
        Ok(())
    }
}
