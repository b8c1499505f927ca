//! Gradient clipping, Adam and the EMA of the parameters, in three launches for all parameters. The loss and the
//! norm of the gradient stay on the device.

use candle_core::{DType, Result, Tensor, Var, bail};

use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{block_per_row, to_i32};
use crate::device::kernels::memory::{address, address_to_write, uninitialised};
use crate::device::kernels::support::supports;
use crate::tape::gradient::Gradient;

/// The hyperparameters of one update. The bias corrections of Adam, which [`crate::AdamStep`] contains, depend on the
/// number of steps taken, which is stored on the device only; they are computed there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateStep {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay β₁ of the first moment.
    pub beta1: f64,
    /// Decay β₂ of the second moment.
    pub beta2: f64,
    /// ε, added to the square root of the bias-corrected second moment.
    pub epsilon: f64,
    /// λ of the L2 penalty of Adam: λ θ is added to the gradient.
    pub coupled_weight_decay: f64,
    /// λ of the weight decay of AdamW: lr λ θ is subtracted from the parameter.
    pub decoupled_weight_decay: f64,
    /// The global norm to which the gradient is clipped; None for no clipping.
    pub max_norm: Option<f64>,
    /// The decay of the EMA.
    pub ema_decay: f64,
    /// Whether the decay of update n, counted from 0, is limited to 1 − (1 + n)^(−2/3).
    pub ema_warmup: bool,
}

/// The result of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateRecord {
    /// The loss that was passed to the update.
    pub loss: f64,
    /// The global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Whether the update changed nothing because the loss or the norm was not finite.
    pub skipped: bool,
}

/// A parameter with the state that updates keep for it.
#[derive(Debug, Clone)]
pub struct Updated {
    /// The parameter θ.
    pub parameter: Var,
    /// The first moment m.
    pub moment1: Var,
    /// The second moment v.
    pub moment2: Var,
    /// The EMA of θ.
    pub average: Var,
}

/// Updates of parameters on a GPU: gradient clipping by the global norm, Adam or AdamW, and the EMA of the
/// parameters.
///
/// The results of several updates are read at once, so that the CPU can run ahead of the GPU.
#[derive(Debug)]
pub struct DeviceUpdate {
    all: Vec<Addresses>,
    /// The tensors whose addresses are in `all`, kept alive.
    _owners: Vec<Updated>,
    chunks: usize,
    /// The number of steps of Adam and of updates of the EMA, [2] in f32.
    counts: Tensor,
    /// Loss, gradient norm and whether it was skipped for each pending update, [update, 3].
    records: Tensor,
    pending: usize,
}

/// The addresses of a parameter and its state.
#[derive(Debug, Clone, Copy)]
struct Addresses {
    parameter: u64,
    moment1: u64,
    moment2: u64,
    average: u64,
    elements: usize,
}

/// `Update` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Update {
    chunks: u64,
    partial: u64,
    loss: u64,
    counts: u64,
    factors: u64,
    record: u64,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    coupled_decay: f64,
    decoupled_decay: f64,
    max_norm: f64,
    ema_decay: f64,
    count: i32,
    warmup: i32,
}

/// The number of elements of a parameter that a block processes.
const CHUNK: usize = 1 << 16;
/// The number of f32 in `StepFactors` in `kernels.cu`.
const STEP_FACTORS: usize = 6;

impl DeviceUpdate {
    /// The largest number of updates whose records have not been read.
    pub const MOST_PENDING: usize = 64;

    /// Whether this type supports a parameter of this type and device.
    pub fn takes(parameter: &Tensor) -> bool {
        supports(parameter) && parameter.dtype() == DType::F32
    }

    /// Updates of these parameters. All tensors are f32 on one device, and the four of a parameter have one shape.
    ///
    /// # Errors
    /// When shapes differ, or there is no parameter.
    pub fn new(all: Vec<Updated>) -> Result<Self> {
        let Some(first) = all.first() else { bail!("device update: expected at least one parameter, found none") };
        let device = first.parameter.device().clone();
        let addresses = |updated: &Updated| {
            let Updated { parameter, moment1, moment2, average } = updated;
            for var in [moment1, moment2, average] {
                if var.dims() != parameter.dims() {
                    bail!(
                        "device update: expected moments and average of shape {:?}, found {:?}",
                        parameter.dims(),
                        var.dims()
                    );
                }
            }
            Ok(Addresses {
                parameter: address_to_write(parameter)?,
                moment1: address_to_write(moment1)?,
                moment2: address_to_write(moment2)?,
                average: address_to_write(average)?,
                elements: parameter.elem_count(),
            })
        };
        let addresses = all.iter().map(addresses).collect::<Result<Vec<_>>>()?;
        let chunks = addresses.iter().map(|of| of.elements.div_ceil(CHUNK)).sum();
        let counts = Tensor::zeros(2, DType::F32, &device)?;
        let records = Tensor::zeros((Self::MOST_PENDING, 3), DType::F32, &device)?;
        Ok(Self { all: addresses, _owners: all, chunks, counts, records, pending: 0 })
    }

    /// Continues after `steps` steps of Adam and `updates` updates of the EMA.
    ///
    /// # Errors
    /// When the device reports an error.
    pub fn restore(&mut self, steps: u64, updates: u64) -> Result<()> {
        self.counts = Tensor::new(&[steps as f32, updates as f32], self.counts.device())?;
        self.pending = 0;
        Ok(())
    }

    /// The number of updates whose records have not been read.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Performs one update. `gradients` are those of the parameters, in the same order, or None for a parameter without
    /// one. `loss` is a scalar.
    ///
    /// # Errors
    /// When a gradient has another size than its parameter, or [`Self::MOST_PENDING`] records have not been read.
    pub fn step(&mut self, gradients: &[Option<Gradient>], loss: &Tensor, step: &UpdateStep) -> Result<()> {
        let device = self.counts.device().clone();
        if self.pending == Self::MOST_PENDING {
            bail!("device update: {} updates are pending, and their records have to be read first", self.pending);
        }
        let mut table: Vec<i64> = Vec::with_capacity(self.chunks * 6);
        for (of, gradient) in self.all.iter().zip(gradients) {
            let gradient = match gradient.as_ref().map(Gradient::as_tensor) {
                Some(Some(tensor)) if tensor.elem_count() == of.elements => address(tensor)?,
                None => 0,
                Some(_) => {
                    bail!("device update: expected a gradient of {} f32 on the device of its parameter", of.elements)
                }
            };
            for from in (0..of.elements).step_by(CHUNK) {
                let at = |base: u64| if base == 0 { 0 } else { (base + 4 * from as u64).cast_signed() };
                let count = (of.elements - from).min(CHUNK) as i64;
                table.extend([at(of.parameter), at(of.moment1), at(of.moment2), at(of.average), at(gradient), count]);
            }
        }
        let chunks = table.len() / 6;
        let table = Tensor::from_vec(table, (chunks, 6), &device)?;
        let loss = loss.to_dtype(DType::F32)?.contiguous()?;
        let partial = uninitialised(chunks, DType::F32, &device)?;
        let factors = uninitialised(STEP_FACTORS, DType::F32, &device)?;
        let args = Update {
            chunks: address(&table)?,
            partial: address_to_write(&partial)?,
            loss: address(&loss)?,
            counts: address_to_write(&self.counts)?,
            factors: address_to_write(&factors)?,
            record: address_to_write(&self.records)? + 12 * self.pending as u64,
            learning_rate: step.learning_rate,
            beta1: step.beta1,
            beta2: step.beta2,
            epsilon: step.epsilon,
            coupled_decay: step.coupled_weight_decay,
            decoupled_decay: step.decoupled_weight_decay,
            max_norm: step.max_norm.unwrap_or(0.0),
            ema_decay: step.ema_decay,
            count: to_i32(chunks)?,
            warmup: i32::from(step.ema_warmup),
        };
        let elements = Elements::single(DType::F32);
        let block_per_chunk = block_per_row(chunks, CHUNK)?;
        launch(&device, elements, "update_squares", block_per_chunk, &args)?;
        launch(&device, elements, "update_factors", block_per_row(1, CHUNK)?, &args)?;
        launch(&device, elements, "update_apply", block_per_chunk, &args)?;
        self.pending += 1;
        Ok(())
    }

    /// The records of the updates since the last call, in order. Waits for the device.
    ///
    /// # Errors
    /// When the device reports an error.
    pub fn records(&mut self) -> Result<Vec<UpdateRecord>> {
        let rows = self.records.narrow(0, 0, self.pending)?.to_vec2::<f32>()?;
        self.pending = 0;
        let record = |row: Vec<f32>| {
            let [loss, norm, skipped] = row[..] else {
                bail!("device update: expected a record of 3 numbers, found {}", row.len())
            };
            Ok(UpdateRecord { loss: loss.into(), gradient_norm: norm.into(), skipped: skipped != 0.0 })
        };
        rows.into_iter().map(record).collect()
    }
}
