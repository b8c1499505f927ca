//! The CPU backend: f32 values and gradients in row-major buffers, computed on the threads of the current rayon pool.

use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{Result, Tensor};

use crate::cpu::buffer::Buffer;
use crate::cpu::weight_cache::WeightCache;
use crate::packed_weights::PackedWeights;
use crate::tape::record::{Backward, Record};
use crate::tape::value::{Storage, Value};

/// Computes and records the operations of one forward pass of f32 tensors on the CPU.
#[derive(Debug)]
pub(crate) struct CpuBackend {
    pub(in crate::cpu) record: RefCell<Record<Buffer>>,
    /// Weights packed by earlier passes, if they do not change.
    pub(in crate::cpu) weight_cache: Option<Arc<WeightCache>>,
}

/// The elements of a value, row-major, and the node of its gradient.
#[derive(Debug, Clone)]
pub(in crate::cpu) struct Array {
    pub(in crate::cpu) values: Arc<Buffer>,
    pub(in crate::cpu) node: Option<usize>,
}

impl Array {
    /// The array of a value.
    ///
    /// # Errors
    /// When another backend computed it.
    pub(in crate::cpu) fn of(value: &Value) -> Result<Self> {
        Ok(Self { values: value.storage()?, node: value.node() })
    }
}

impl Storage for Buffer {
    fn reshape(self: Arc<Self>, _: &[usize], _: &[usize]) -> Result<Arc<dyn Storage>> {
        // Row-major elements do not depend on the shape.
        Ok(self)
    }
}

impl CpuBackend {
    /// An empty backend that reads and fills the CPU's part of `packed_weights`.
    pub(crate) fn new(packed_weights: Option<&PackedWeights>) -> Self {
        let record = RefCell::new(Record::new(true));
        Self { record, weight_cache: packed_weights.map(PackedWeights::cache) }
    }

    /// Records an operation whose output is `output`. `backward` is called, to save what the gradient needs, if an
    /// input or a parameter needs one.
    pub(in crate::cpu) fn push(
        &self,
        output: Buffer,
        dims: &[usize],
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        backward: impl FnOnce() -> Backward<Buffer>,
    ) -> Value {
        let node = self.record.borrow_mut().push(inputs, parameters, backward);
        Value::new(Arc::new(output), dims.to_vec(), node)
    }
}
