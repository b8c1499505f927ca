//! The device backend: values in candle tensors, channels last, on any device and in any floating-point type.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::compute_options::ComputeOptions;
use crate::device::layout::{channels_last, on_tape, wide};
use crate::device::math_mode::set_tf32;
use crate::device::primitives;
use crate::device::seed::Seed;
use crate::device::shape_cache::ShapeCache;
use crate::device::training_cache::TrainingCache;
use crate::device::upload::upload;
use crate::device::weight_cache::WeightCache;
use crate::packed_weights::PackedWeights;
use crate::precision::Precision;
use crate::tape::gradients::Gradients;
use crate::tape::record::{Backward, Record};
use crate::tape::value::{Storage, Value};

/// Computes and records the operations of one forward pass on candle tensors.
#[derive(Debug)]
pub(crate) struct DeviceBackend {
    pub(in crate::device) record: RefCell<Record<Tensor>>,
    pub(in crate::device) device: Device,
    /// The type that images are computed in.
    pub(in crate::device) dtype: DType,
    /// Whether a GPU may round the factors of f32 products to TF32.
    pub(in crate::device) tf32: bool,
    /// The weights in the layout and type that convolutions read, made once per pass, or once if they are cached.
    weight_cache: Arc<WeightCache>,
    /// What the passes of one training share.
    training: Option<TrainingCache>,
    _shapes: ShapeCache,
}

/// A value of this backend: a contiguous tensor that candle does not track, with the channels on the last axis.
#[derive(Debug, Clone)]
pub(in crate::device) struct DeviceArray {
    /// [batch, …, channel]
    pub(in crate::device) tensor: Tensor,
    /// [batch, channel, …]
    pub(in crate::device) dims: Vec<usize>,
    /// The node of its gradient.
    pub(in crate::device) node: Option<usize>,
}

impl DeviceArray {
    /// The array of a value.
    ///
    /// # Errors
    /// When another backend computed it.
    pub(in crate::device) fn of(value: &Value) -> Result<Self> {
        let tensor = value.storage::<Tensor>()?.as_ref().clone();
        Ok(Self { tensor, dims: value.dims().to_vec(), node: value.node() })
    }
}

impl Storage for Tensor {
    fn reshape(self: Arc<Self>, from: &[usize], to: &[usize]) -> Result<Arc<dyn Storage>> {
        if to.get(..2) != from.get(..2) {
            bail!("cannot reshape {from:?} to {to:?}: with the channels last, batch and channel axes have to stay");
        }
        Ok(Arc::new(Tensor::reshape(&self, channels_last(to))?))
    }
}

impl DeviceBackend {
    /// An empty backend that computes images of type `dtype` on `device`.
    pub(crate) fn new(device: &Device, dtype: DType, options: &ComputeOptions) -> Self {
        let tf32 = options.precision == Precision::Tf32;
        set_tf32(tf32);
        if let Some(training) = &options.training_cache {
            training.begin_pass();
        }
        Self {
            record: RefCell::new(Record::new(true)),
            device: device.clone(),
            dtype,
            tf32,
            weight_cache: options.packed_weights.as_ref().map(PackedWeights::cache).unwrap_or_default(),
            training: options.training_cache.clone(),
            _shapes: ShapeCache::enable(device),
        }
    }

    /// An empty backend of the same kind for a part of the pass.
    pub(in crate::device) fn part(&self, recording: bool) -> Self {
        let record = RefCell::new(Record::new(recording));
        let Self { device, dtype, tf32, weight_cache, training, .. } = self;
        Self {
            record,
            device: device.clone(),
            dtype: *dtype,
            tf32: *tf32,
            weight_cache: weight_cache.clone(),
            training: training.clone(),
            _shapes: ShapeCache::inherited(),
        }
    }

    /// The value of a tensor [batch, channel, …] that no operation computed; its gradient is kept if `tracked`.
    pub(in crate::device) fn new_leaf(&self, tensor: &Tensor, tracked: bool) -> Result<Value> {
        let node = tracked.then(|| self.record.borrow_mut().new_node());
        let here = if tensor.device().same_device(&self.device) {
            tensor.clone()
        } else {
            upload(&tensor.detach().to_dtype(wide(self.dtype))?, &self.device)?
        };
        let own = on_tape(&here, self.dtype)?;
        Ok(Value::new(Arc::new(own), tensor.dims().to_vec(), node))
    }

    /// Records an operation whose output is `tensor`, [batch, …, channel]. `backward` is called, to save what the
    /// gradient needs, if an input or a parameter needs one.
    pub(in crate::device) fn push(
        &self,
        tensor: Tensor,
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        backward: impl FnOnce() -> Backward<Tensor>,
    ) -> Value {
        let shape = tensor.shape().clone();
        let node = self.record.borrow_mut().push(inputs, parameters, || {
            let backward = backward();
            // A reader that saw the output in another shape gives its gradient in that shape.
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| backward(grad.reshape(shape)?, gradients))
        });
        let mut dims = tensor.dims().to_vec();
        if dims.len() > 2 {
            dims[1..].rotate_right(1);
        }
        Value::new(Arc::new(tensor), dims, node)
    }

    /// Records an operation of one input and no parameter, whose backward step maps the gradient of its output to that
    /// of its input.
    pub(in crate::device) fn push_unary(
        &self,
        x: &DeviceArray,
        tensor: Tensor,
        backward: impl FnOnce(Tensor) -> Result<Tensor> + Send + 'static,
    ) -> Value {
        let node = x.node;
        self.push(tensor, &[node], &[], || {
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                gradients.add(node, backward(grad)?);
                Ok(())
            })
        })
    }

    /// The values of a parameter in f32, or in f64 if the pass computes in it.
    pub(in crate::device) fn vector(&self, parameter: &Tensor) -> Result<Tensor> {
        parameter.detach().to_dtype(wide(self.dtype))?.contiguous()
    }

    /// A convolution's weight [channel_out, channel_in, k, k] as [channel_out, k, k, channel_in] of the pass's type.
    pub(in crate::device) fn kernel(&self, weight: &Tensor) -> Result<Tensor> {
        let make = || primitives::kernel(&weight.detach(), self.dtype);
        match &self.training {
            Some(training) if training.keeps_weights() => training.kernel(weight, self.dtype, make),
            _ => self.weight_cache.get_or_insert(weight, self.dtype, make),
        }
    }

    /// The seed of an operation of the pass, as a kernel receives it.
    pub(in crate::device) fn seed(&self, seed: u64) -> Result<Seed> {
        self.training.as_ref().map_or(Ok(Seed::Value(seed)), |training| training.seed(seed))
    }
}
