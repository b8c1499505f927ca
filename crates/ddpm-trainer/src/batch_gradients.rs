//! The loss and the gradients of a forward and backward pass, and their sum over several passes.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use ddpm_ops::Gradient;

/// The loss and the gradients of one batch, or their sum over the batches of a step with gradient accumulation.
#[derive(Debug)]
pub(crate) struct BatchGradients {
    /// A scalar on the device.
    pub(crate) loss: Tensor,
    /// The gradients by the names of their parameters.
    pub(crate) gradients: BTreeMap<String, Gradient>,
}

impl BatchGradients {
    /// The sum of both. Each gradient of `next` is freed as soon as it is added.
    pub(crate) fn add(mut self, next: Self) -> Result<Self> {
        self.loss = (self.loss + next.loss)?;
        for (name, gradient) in next.gradients {
            match self.gradients.get_mut(&name) {
                Some(sum) => sum.add(&gradient)?,
                None => drop(self.gradients.insert(name, gradient)),
            }
        }
        Ok(self)
    }
}
