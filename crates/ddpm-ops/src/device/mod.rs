//! The operations of a tape on tensors that are not f32 on the CPU: on a GPU, or in another precision.
//!
//! Images lie channels last, [batch, height, width, channel], as tensor cores read them. They are in the tape's compute type;
//! vectors of features, statistics and sums are in f32 where that is narrower. Gradients are our own: what an operation needs of
//! candle is in `reference`, what it has kernels for in `primitives`, which chooses between the two.

mod attention;
mod convolution;
#[cfg_attr(not(feature = "cuda"), path = "no_cudnn.rs")]
mod cudnn;
mod emulation;
mod features;
mod kernels;
mod normalisation;
mod planes;
mod pointwise;
mod primitives;
mod reference;

use std::cell::{Cell, RefCell};

use candle_core::{DType, Result, Tensor, bail};

pub(crate) use self::emulation::emulated;
#[cfg(feature = "cuda")]
pub use self::kernels::open_gpu;
pub use self::kernels::{DeviceUpdate, UpdateRecord, UpdateStep, Updated};
pub(crate) use self::pointwise::Function;
use crate::prepacked::PackedWeights;
use crate::tape::{Backward, Gradients, Kind, Record, Tape, Value};

/// A tensor on its way through a network: [batch, …, channel], contiguous, not tracked by candle.
#[derive(Debug, Clone)]
pub(crate) struct DeviceArray {
    pub(crate) tensor: Tensor,
    /// [batch, channel, …]
    pub(crate) dims: Vec<usize>,
    /// The place of its gradient; None where none is wanted.
    pub(crate) node: Option<usize>,
}

impl DeviceArray {
    /// The same values in another shape, which differs in how height and width are counted.
    pub(crate) fn reshape(&self, dims: &[usize]) -> Result<Self> {
        if dims.get(..2) != self.dims.get(..2) {
            bail!("cannot see {:?} as {dims:?} with the channels last", self.dims);
        }
        Ok(Self { tensor: self.tensor.reshape(channels_last(dims))?, dims: dims.to_vec(), node: self.node })
    }

    /// The values with the channels where the rest of the world has them.
    pub(crate) fn channels_first(&self) -> Result<Tensor> {
        to_channels_first(&self.tensor)
    }
}

/// [batch, …, channel] of [batch, channel, …].
fn channels_last(dims: &[usize]) -> Vec<usize> {
    let mut last = dims.to_vec();
    if dims.len() > 2 {
        last[1..].rotate_left(1);
    }
    last
}

fn to_channels_last(tensor: &Tensor) -> Result<Tensor> {
    let mut axes: Vec<usize> = (0..tensor.rank()).collect();
    if axes.len() > 2 {
        axes[1..].rotate_left(1);
    }
    tensor.permute(axes)?.contiguous()
}

fn to_channels_first(tensor: &Tensor) -> Result<Tensor> {
    let mut axes: Vec<usize> = (0..tensor.rank()).collect();
    if axes.len() > 2 {
        axes[1..].rotate_right(1);
    }
    tensor.permute(axes)?.contiguous()
}

/// The type of vectors, statistics and sums beside values of `dtype`.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// What a tape holds for such tensors.
#[derive(Debug)]
pub(crate) struct OnDevice {
    record: RefCell<Record<Tensor>>,
    /// What images are computed in.
    dtype: Cell<DType>,
    /// The weights in the form and type that convolutions want, made once a pass or once and for all.
    weights: PackedWeights,
}

impl Default for OnDevice {
    fn default() -> Self {
        Self::new(DType::F32, PackedWeights::default())
    }
}

impl OnDevice {
    /// A tape's part for images in that type.
    pub(crate) fn new(dtype: DType, weights: PackedWeights) -> Self {
        Self { record: RefCell::default(), dtype: Cell::new(dtype), weights }
    }

    /// The same for a part of the pass.
    pub(crate) fn alike(&self, quiet: bool) -> Self {
        let record = if quiet { Record::quiet() } else { Record::default() };
        Self { record: RefCell::new(record), dtype: self.dtype.clone(), weights: self.weights.clone() }
    }

    /// A new place for a gradient.
    pub(crate) fn node(&self) -> usize {
        self.record.borrow_mut().node()
    }

    pub(crate) fn finish(self) -> Record<Tensor> {
        self.record.into_inner()
    }
}

/// The form that a tensor has on a tape of that type: images in it, vectors of features wide.
fn on_tape(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    let dtype = if tensor.rank() > 2 { dtype } else { wide(dtype) };
    to_channels_last(&tensor.detach().to_dtype(dtype)?)
}

/// A gradient in the form of what it is the gradient of.
pub(crate) fn as_given(gradient: &Tensor, like: &Tensor) -> Result<Tensor> {
    to_channels_first(&gradient.reshape(channels_last(like.dims()))?)?.to_dtype(like.dtype())
}

/// The gradient of a pass's output in the form that its record takes.
pub(crate) fn as_computed(gradient: &Tensor, dtype: DType) -> Result<Tensor> {
    on_tape(gradient, dtype)
}

impl Tape {
    /// A value that no operation made; its gradient is kept where `tracked`.
    pub(crate) fn device_leaf(&self, tensor: &Tensor, tracked: bool) -> Result<Value> {
        let node = tracked.then(|| self.device.node());
        let dims = tensor.dims().to_vec();
        Ok(Value(Kind::Device(DeviceArray { tensor: on_tape(tensor, self.device.dtype.get())?, dims, node })))
    }

    /// Records an operation whose output is `tensor`, [batch, …, channel].
    pub(crate) fn push_device(
        &self,
        tensor: Tensor,
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        backward: impl FnOnce() -> Backward<Tensor>,
    ) -> Value {
        let shape = tensor.shape().clone();
        let node = self.device.record.borrow_mut().push(inputs, parameters, || {
            let backward = backward();
            // Whoever saw the output in another shape gives its gradient in that one.
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| backward(grad.reshape(shape)?, gradients))
        });
        let mut dims = tensor.dims().to_vec();
        if dims.len() > 2 {
            dims[1..].rotate_right(1);
        }
        Value(Kind::Device(DeviceArray { tensor, dims, node }))
    }

    /// An operation of one input, whose gradient is a function of that of its output.
    fn push_unary(
        &self,
        x: &DeviceArray,
        tensor: Tensor,
        backward: impl FnOnce(Tensor) -> Result<Tensor> + Send + 'static,
    ) -> Value {
        let node = x.node;
        self.push_device(tensor, &[node], &[], || {
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                gradients.add(node, backward(grad)?);
                Ok(())
            })
        })
    }

    /// A parameter's values in f32, or in f64 where that is computed in.
    fn vector(&self, parameter: &Tensor) -> Result<Tensor> {
        parameter.detach().to_dtype(wide(self.device.dtype.get()))?.contiguous()
    }

    /// A convolution's weight [channel_out, channel_in, k, k] as [channel_out, k, k, channel_in] in the compute type.
    fn kernel(&self, weight: &Tensor) -> Result<Tensor> {
        let dtype = self.device.dtype.get();
        self.device.weights.on_device(weight, dtype, || primitives::kernel(&weight.detach(), dtype))
    }
}

impl Value {
    /// The array on a device.
    fn device(&self) -> Result<&DeviceArray> {
        match &self.0 {
            Kind::Device(array) => Ok(array),
            Kind::Fused(_) => bail!("a value of another tape"),
        }
    }
}
