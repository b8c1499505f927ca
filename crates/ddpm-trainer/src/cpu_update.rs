//! The parameter update whose parts run one after the other.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
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
            records: Vec::new(),
        })
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
        let skipped = !(loss.is_finite() && gradient_norm.is_finite());
        if !skipped {
            let scale = clip_scale(gradient_norm, self.max_gradient_norm);
            self.adam.update(&self.parameters, &gradients, learning_rate, scale)?;
            self.ema.update(&self.parameters)?;
        }
        self.records.push(UpdateRecord { loss, gradient_norm, skipped });
        Ok(())
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
