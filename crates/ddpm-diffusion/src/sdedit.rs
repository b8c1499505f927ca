//! SDEdit: sampling from a noisy image instead of from noise (Meng et al. 2022).

use candle_core::Tensor;

use crate::{DiffusionError, GaussianDiffusion, SamplerConfig};

impl SamplerConfig {
    /// The number of steps that an edit of the given strength takes, the last ones of all: `strength` · `steps`,
    /// rounded.
    ///
    /// # Errors
    /// [`DiffusionError::Option`] if the strength is not in [0, 1].
    pub fn steps_of_strength(&self, strength: f64) -> Result<usize, DiffusionError> {
        if !(0.0..=1.0).contains(&strength) {
            return Err(DiffusionError::Option { field: "strength", expected: "a share in [0, 1]", found: strength });
        }
        Ok((strength * self.steps as f64).round() as usize)
    }

    /// x at the noise level where the last `steps_left` steps begin: √ᾱ x_0 + √(1 − ᾱ) ε (Meng et al. 2022, algorithm
    /// 1). [`sample_from`](crate::sample_from) continues from there. With no steps left, it is x_0.
    ///
    /// # Shapes
    /// `x_0` and `eps` [batch, channel, height, width].
    ///
    /// # Errors
    /// The errors of [`SamplerConfig::respaced`]; [`DiffusionError::Option`] if `steps_left` is more than `steps`;
    /// [`DiffusionError::Shape`] if the shapes differ.
    pub fn noisy_start(
        &self,
        diffusion: &GaussianDiffusion,
        x_0: &Tensor,
        steps_left: usize,
        eps: &Tensor,
    ) -> Result<Tensor, DiffusionError> {
        self.check_steps_left(steps_left)?;
        let respaced = self.respaced(diffusion)?;
        match steps_left.checked_sub(1) {
            Some(step) => respaced.q_sample(x_0, &vec![step; x_0.dim(0)?], eps),
            None => Ok(x_0.clone()),
        }
    }

    pub(crate) fn check_steps_left(&self, steps_left: usize) -> Result<(), DiffusionError> {
        if steps_left <= self.steps {
            return Ok(());
        }
        Err(DiffusionError::Option { field: "steps_left", expected: "at most the steps", found: steps_left as f64 })
    }
}
