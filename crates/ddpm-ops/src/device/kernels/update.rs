//! Clipping, Adam and the average in three launches for all parameters, without the CPU knowing loss or norm.

use candle_core::{DType, Result, Tensor, Var, bail};

use super::launch::{Elements, address, address_to_write, launch, number, rows_of, unwritten};
use crate::tape::gradient::Gradient;

/// The numbers of one update that the CPU knows. Those of [`crate::AdamStep`] that depend on how many steps have been taken are
/// computed where that is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateStep {
    /// Of this step.
    pub learning_rate: f64,
    /// Decay β₁ of the first moment.
    pub beta1: f64,
    /// Decay β₂ of the second moment.
    pub beta2: f64,
    /// ε, added to the root of the corrected second moment.
    pub epsilon: f64,
    /// λ added to the gradient as λ θ: the L2 penalty of Adam.
    pub coupled_weight_decay: f64,
    /// λ taken from the parameter as lr λ θ: the weight decay of AdamW.
    pub decoupled_weight_decay: f64,
    /// Largest global norm of the gradient; None for no limit.
    pub max_norm: Option<f64>,
    /// Decay of the average.
    pub ema_decay: f64,
    /// Whether the decay of update n, from 0, is at most 1 − (1 + n)^(−2/3).
    pub ema_warmup: bool,
}

/// What one update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateRecord {
    /// The loss that it was given.
    pub loss: f64,
    /// The global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Whether nothing was changed, because loss or norm was not finite.
    pub skipped: bool,
}

/// One parameter with what an update keeps of it.
#[derive(Debug, Clone)]
pub struct Updated {
    /// θ
    pub parameter: Var,
    /// m
    pub moment1: Var,
    /// v
    pub moment2: Var,
    /// The average of θ.
    pub average: Var,
}

/// Updates of parameters on a GPU: clipping by the global norm, Adam or AdamW, the average. What they did is read later, many at
/// a time, so that the CPU runs ahead of the GPU.
#[derive(Debug)]
pub struct DeviceUpdate {
    all: Vec<Addresses>,
    /// Kept so that the addresses stay.
    _owners: Vec<Updated>,
    chunks: usize,
    /// Steps of Adam and updates of the average.
    counts: Tensor,
    /// [update, 3]
    records: Tensor,
    pending: usize,
}

#[derive(Debug, Clone, Copy)]
struct Addresses {
    parameter: u64,
    first: u64,
    second: u64,
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
    numbers: u64,
    record: u64,
    learning_rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    coupled: f64,
    decoupled: f64,
    most_norm: f64,
    decay: f64,
    count: i32,
    warmup: i32,
}

/// Elements of a parameter that a block takes.
const CHUNK: usize = 1 << 16;
/// `Numbers` in `kernels.cu`, in f32.
const NUMBERS: usize = 6;

impl DeviceUpdate {
    /// Updates that may be under way before their records are read.
    pub const MOST_PENDING: usize = 64;

    /// Whether parameters like this one are updated so.
    pub fn takes(parameter: &Tensor) -> bool {
        super::take(parameter) && parameter.dtype() == DType::F32
    }

    /// Updates of these, each four of one shape, f32, on one device.
    ///
    /// # Errors
    /// When they are not, or there are none.
    pub fn new(all: Vec<Updated>) -> Result<Self> {
        let Some(first) = all.first() else { bail!("an update of no parameter") };
        let device = first.parameter.device().clone();
        let addresses = |updated: &Updated| {
            let Updated { parameter, moment1, moment2, average } = updated;
            for var in [moment1, moment2, average] {
                if var.dims() != parameter.dims() {
                    bail!("an update of {:?} with {:?} beside it", parameter.dims(), var.dims());
                }
            }
            Ok(Addresses {
                parameter: address_to_write(parameter)?,
                first: address_to_write(moment1)?,
                second: address_to_write(moment2)?,
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

    /// Goes on after `steps` steps of Adam and `updates` of the average.
    ///
    /// # Errors
    /// When the device fails.
    pub fn restore(&mut self, steps: u64, updates: u64) -> Result<()> {
        self.counts = Tensor::new(&[steps as f32, updates as f32], self.counts.device())?;
        self.pending = 0;
        Ok(())
    }

    /// Updates under way, whose records are to be read.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// One update. `gradients` are those of the parameters in their order, None where there is none; `loss` is a scalar.
    ///
    /// # Errors
    /// When a gradient is of another size, or more than [`Self::MOST_PENDING`] records have not been read.
    pub fn step(&mut self, gradients: &[Option<Gradient>], loss: &Tensor, step: &UpdateStep) -> Result<()> {
        let device = self.counts.device().clone();
        if self.pending == Self::MOST_PENDING {
            bail!("an update before the records of those before it were read");
        }
        let mut table: Vec<i64> = Vec::with_capacity(self.chunks * 6);
        for (of, gradient) in self.all.iter().zip(gradients) {
            let gradient = match gradient.as_ref().map(Gradient::as_tensor) {
                Some(Some(tensor)) if tensor.elem_count() == of.elements => address(tensor)?,
                None => 0,
                Some(_) => bail!("a gradient of another size or kind than its parameter"),
            };
            for from in (0..of.elements).step_by(CHUNK) {
                let at = |base: u64| if base == 0 { 0 } else { (base + 4 * from as u64).cast_signed() };
                let count = (of.elements - from).min(CHUNK) as i64;
                table.extend([at(of.parameter), at(of.first), at(of.second), at(of.average), at(gradient), count]);
            }
        }
        let chunks = table.len() / 6;
        let table = Tensor::from_vec(table, (chunks, 6), &device)?;
        let loss = loss.to_dtype(DType::F32)?.contiguous()?;
        let partial = unwritten(chunks, DType::F32, &device)?;
        let numbers = unwritten(NUMBERS, DType::F32, &device)?;
        let args = Update {
            chunks: address(&table)?,
            partial: address_to_write(&partial)?,
            loss: address(&loss)?,
            counts: address_to_write(&self.counts)?,
            numbers: address_to_write(&numbers)?,
            record: address_to_write(&self.records)? + 12 * self.pending as u64,
            learning_rate: step.learning_rate,
            beta1: step.beta1,
            beta2: step.beta2,
            epsilon: step.epsilon,
            coupled: step.coupled_weight_decay,
            decoupled: step.decoupled_weight_decay,
            most_norm: step.max_norm.unwrap_or(0.0),
            decay: step.ema_decay,
            count: number(chunks)?,
            warmup: i32::from(step.ema_warmup),
        };
        let elements = Elements::single(DType::F32);
        let each = rows_of(chunks, CHUNK)?;
        launch(&device, elements, "update_squares", each, &args)?;
        launch(&device, elements, "update_numbers", rows_of(1, CHUNK)?, &args)?;
        launch(&device, elements, "update_apply", each, &args)?;
        self.pending += 1;
        Ok(())
    }

    /// What the updates since the last call did, in their order. Waits for the device.
    ///
    /// # Errors
    /// When the device fails.
    pub fn records(&mut self) -> Result<Vec<UpdateRecord>> {
        let rows = self.records.narrow(0, 0, self.pending)?.to_vec2::<f32>()?;
        self.pending = 0;
        let record = |row: Vec<f32>| {
            let [loss, norm, skipped] = row[..] else { bail!("a record of {} numbers", row.len()) };
            Ok(UpdateRecord { loss: loss.into(), gradient_norm: norm.into(), skipped: skipped != 0.0 })
        };
        rows.into_iter().map(record).collect()
    }
}
