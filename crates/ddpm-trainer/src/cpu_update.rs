//! The parameter update whose parts run one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{DType, Tensor, Var};
use ddpm_distributed::Communicator;
use ddpm_ops::{Gradient, UpdateRecord};

use crate::adam::Adam;
use crate::ema::{Ema, EmaDecay};
use crate::error::TrainerError;
use crate::gradient_clip::{clip_scale, global_norm};
use crate::parameter_update::{ParameterUpdate, UpdateConfig};

/// The update of parameters on the CPU, and on devices for which there are no kernels. A step is complete when it
/// returns.
#[derive(Debug)]
pub struct CpuUpdate {
    parameters: BTreeMap<String, Var>,
    max_gradient_norm: Option<f64>,
    adam: Adam,
    ema: Ema,
    /// The ranks whose first one decides on loss and gradient norm.
    communicator: Option<Arc<dyn Communicator>>,
    records: Vec<UpdateRecord>,
}

impl CpuUpdate {
    /// Updates `parameters` and their EMA, `ema_parameters`, in place.
    ///
    /// # Errors
    /// When the device has too little memory for the moments.
    pub fn new(
        config: UpdateConfig,
        parameters: &BTreeMap<String, Var>,
        ema_parameters: &BTreeMap<String, Var>,
    ) -> Result<Self, TrainerError> {
        let decay = EmaDecay::Exponential { decay: config.ema_decay, warmup: config.ema_warmup };
        Ok(Self {
            parameters: parameters.clone(),
            max_gradient_norm: config.max_gradient_norm,
            adam: Adam::new(config.adam, parameters)?,
            ema: Ema::new(decay, ema_parameters.clone()),
            communicator: None,
            records: Vec::new(),
        })
    }
}

impl CpuUpdate {
    /// The loss and the gradient norm of rank 0, which are those of the other ranks too unless their processors sum in
    /// another order. All ranks then clip by the same factor and skip the same steps, so that their weights stay equal.
    fn of_rank_0(&self, loss: f64, gradient_norm: f64) -> Result<(f64, f64), TrainerError> {
        let Some(communicator) = &self.communicator else { return Ok((loss, gradient_norm)) };
        let own = match communicator.rank() {
            0 => [loss, gradient_norm].into_iter().flat_map(f64::to_le_bytes).collect(),
            _ => Vec::new(),
        };
        let bytes = communicator.broadcast(own)?;
        match bytes.as_chunks() {
            ([loss, norm], []) => Ok((f64::from_le_bytes(*loss), f64::from_le_bytes(*norm))),
            _ => Err(TrainerError::Ranks(format!("expected 16 bytes of rank 0, found {}", bytes.len()))),
        }
    }
}

impl ParameterUpdate for CpuUpdate {
    fn step(
        &mut self,
        loss: &Tensor,
        gradients: BTreeMap<String, Gradient>,
        learning_rate: f64,
    ) -> Result<(), TrainerError> {
        let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let gradient_norm = global_norm(&gradients)?;
        let (loss, gradient_norm) = self.of_rank_0(loss, gradient_norm)?;
        let skipped = !(loss.is_finite() && gradient_norm.is_finite());
        if !skipped {
            let scale = clip_scale(gradient_norm, self.max_gradient_norm);
            self.adam.update(&self.parameters, &gradients, learning_rate, scale)?;
            self.ema.update(&self.parameters)?;
        }
        self.records.push(UpdateRecord { loss, gradient_norm, skipped });
        Ok(())
    }

    fn share_with(&mut self, communicator: Arc<dyn Communicator>) {
        self.communicator = Some(communicator);
    }

    fn take_records(&mut self) -> Result<Vec<UpdateRecord>, TrainerError> {
        Ok(std::mem::take(&mut self.records))
    }

    fn max_steps_in_flight(&self) -> usize {
        1
    }

    fn moments(&self) -> BTreeMap<String, Tensor> {
        self.adam.state()
    }

    fn restore(
        &mut self,
        moments: &BTreeMap<String, Tensor>,
        optimizer_steps: u64,
        ema_updates: u64,
    ) -> Result<(), TrainerError> {
        self.adam.restore(optimizer_steps, moments)?;
        self.ema.restore(ema_updates);
        self.records.clear();
        Ok(())
    }
}
