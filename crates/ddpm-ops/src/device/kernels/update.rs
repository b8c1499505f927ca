//! Gradient clipping, Adam and the EMA of the parameters, in three launches for all parameters. The loss and the
//! norm of the gradient stay on the device.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{block_per_row, to_i32};
use crate::device::kernels::memory::{address, address_to_write, uninitialized};
use crate::device::kernels::support;
use crate::device::kernels::update_table::{CHUNK, UpdateTable, Updated};
use crate::device::training_cache::{Phase, TrainingCache};
use crate::device::upload::upload;
use crate::tape::gradient::Gradient;

/// The hyperparameters of an update that do not change from step to step. The bias corrections of Adam, which
/// [`crate::AdamStep`] contains, depend on the number of steps taken, which is stored on the device only; they are
/// computed there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateHyperparameters {
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

/// Updates of parameters on a GPU: gradient clipping by the global norm, Adam or AdamW, and the EMA of the
/// parameters.
///
/// The results of several updates are read at once, so that the CPU can run ahead of the GPU.
#[derive(Debug)]
pub struct DeviceUpdate {
    table: UpdateTable,
    /// The learning rate and the index of the record of the present step, as bits, [2] in i64. Kernels read both from
    /// here because those of a captured step receive the same arguments each time.
    inputs: Tensor,
    /// What the updates share with the passes.
    cache: Option<TrainingCache>,
    /// The number of steps of Adam and of updates of the EMA, [2] in f32.
    counts: Tensor,
    /// Loss, gradient norm and whether it was skipped for each pending update, [update, 3].
    records: Tensor,
    pending: usize,
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
    records: u64,
    inputs: u64,
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

/// The number of f32 in `StepFactors` in `kernels.cu`.
const STEP_FACTORS: usize = 6;

impl DeviceUpdate {
    /// The largest number of updates whose records have not been read.
    pub const MAX_STEPS_IN_FLIGHT: usize = 64;

    /// Whether this type supports a parameter of this type and device.
    pub fn supports(parameter: &Tensor) -> bool {
        support::supports(parameter) && parameter.dtype() == DType::F32
    }

    /// Updates of these parameters. All tensors are f32 on one device, and the four of a parameter have one shape.
    ///
    /// # Errors
    /// When shapes differ, or there is no parameter.
    pub fn new(all: Vec<Updated>) -> Result<Self> {
        let Some(first) = all.first() else { bail!("device update: expected at least one parameter, found none") };
        let device = first.parameter.device().clone();
        for Updated { parameter, moment1, moment2, average } in &all {
            for var in [moment1, moment2, average] {
                if var.dims() != parameter.dims() {
                    bail!(
                        "device update: expected moments and average of shape {:?}, found {:?}",
                        parameter.dims(),
                        var.dims()
                    );
                }
            }
        }
        let table = UpdateTable::new(all, &device)?;
        let counts = Tensor::zeros(2, DType::F32, &device)?;
        let records = Tensor::zeros((Self::MAX_STEPS_IN_FLIGHT, 3), DType::F32, &device)?;
        let inputs = Tensor::zeros(2, DType::I64, &device)?;
        Ok(Self { table, inputs, cache: None, counts, records, pending: 0 })
    }

    /// The same updates, which also keep the convolution weights in `cache` current.
    pub fn with_cache(mut self, cache: TrainingCache) -> Self {
        cache.keep_weights(true);
        self.cache = Some(cache);
        self
    }

    /// Continues after `steps` steps of Adam and `updates` updates of the EMA. The parameters may have been changed, so
    /// the weights in the cache are discarded. A [`StepGraph`](crate::StepGraph) of the former ones must not be
    /// replayed.
    ///
    /// # Errors
    /// When the device reports an error.
    pub fn restore(&mut self, steps: u64, updates: u64) -> Result<()> {
        let counts = Tensor::new(&[steps as f32, updates as f32], self.counts.device())?;
        self.counts.slice_set(&counts, 0, 0)?;
        self.pending = 0;
        if let Some(cache) = &self.cache {
            cache.keep_weights(true);
        }
        Ok(())
    }

    /// The number of updates whose records have not been read.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Begins an update with this learning rate, which [`Self::launch`] completes, or the replay of a captured launch.
    ///
    /// # Errors
    /// When [`Self::MAX_STEPS_IN_FLIGHT`] records have not been read.
    pub fn begin(&mut self, learning_rate: f64) -> Result<()> {
        if self.pending == Self::MAX_STEPS_IN_FLIGHT {
            bail!("device update: {} updates are pending, and their records have to be read first", self.pending);
        }
        let inputs = [learning_rate.to_bits().cast_signed(), self.pending as i64];
        self.inputs.slice_set(&upload(&Tensor::new(&inputs, &Device::Cpu)?, self.inputs.device())?, 0, 0)?;
        self.pending += 1;
        Ok(())
    }

    /// Launches the kernels of the update that was begun. `gradients` are those of the parameters, in the same order,
    /// or None for a parameter without one. `loss` is a scalar.
    ///
    /// # Errors
    /// When a gradient has another size than its parameter.
    pub fn launch(
        &mut self,
        gradients: &[Option<Gradient>],
        loss: &Tensor,
        step: &UpdateHyperparameters,
    ) -> Result<()> {
        let device = self.counts.device().clone();
        let captured = self.cache.as_ref().is_some_and(|cache| cache.phase() == Phase::Capture);
        let dtype = self.table.fill(gradients, self.cache.as_ref(), captured)?;
        let loss = loss.to_dtype(DType::F32)?.contiguous()?;
        let chunks = self.table.chunks();
        let partial = uninitialized(chunks, DType::F32, &device)?;
        let factors = uninitialized(STEP_FACTORS, DType::F32, &device)?;
        let args = Update {
            chunks: self.table.address()?,
            partial: address_to_write(&partial)?,
            loss: address(&loss)?,
            counts: address_to_write(&self.counts)?,
            factors: address_to_write(&factors)?,
            records: address_to_write(&self.records)?,
            inputs: address(&self.inputs)?,
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
        let elements = Elements::single(dtype);
        let block_per_chunk = block_per_row(chunks, CHUNK)?;
        launch(&device, elements, "update_squares", block_per_chunk, &args)?;
        launch(&device, elements, "update_factors", block_per_row(1, CHUNK)?, &args)?;
        launch(&device, elements, "update_apply", block_per_chunk, &args)
    }

    /// Prepares the replay of a captured [`Self::launch`]: copies its table of addresses to the device if an update
    /// that was not captured has overwritten it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn prepare_replay(&mut self) -> Result<()> {
        self.table.upload_captured()
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

impl Drop for DeviceUpdate {
    fn drop(&mut self) {
        // Without updates the weights in the cache would no longer be current.
        if let Some(cache) = &self.cache {
            cache.keep_weights(false);
        }
    }
}
