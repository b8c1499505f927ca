//! What the trainer requires of a network.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};
use ddpm_diffusion::Denoiser;
use ddpm_ops::{Gradient, ParameterGradients, Recorded, TrainingCache};
use ddpm_rng::Stream;

use crate::error::TrainerError;

/// A network whose parameters have gradients. Closures with the signature of [`TrainableDenoiser::predict_train`]
/// implement it.
pub trait TrainableDenoiser {
    /// Predicts ε, x_0 or v for noisy images, as the diffusion process specifies, and records what the backward pass
    /// needs.
    ///
    /// A network of `ddpm-unet` returns the record of its own operations. A network of plain candle operations returns
    /// `Recorded::from(output)`, and candle computes the gradients. Dropout masks are drawn from `dropout`.
    ///
    /// # Shapes
    /// `x_t` [batch, channel, height, width]; `t` `[batch]`, f32, on the CPU: timesteps from 0. The result has the
    /// shape of `x_t`.
    ///
    /// # Errors
    /// Any error of the network.
    fn predict_train(&self, x_t: &Tensor, t: &Tensor, dropout: &mut Stream) -> Result<Recorded>;

    /// The same for images of given classes. Called instead of [`TrainableDenoiser::predict_train`] if
    /// [`TrainableModel::classes`] is Some.
    ///
    /// # Shapes
    /// As for [`TrainableDenoiser::predict_train`]. `labels` `[batch]`, u32, on the CPU.
    ///
    /// # Errors
    /// The errors of the network; by default, that it is not conditioned on classes.
    fn predict_train_for_classes(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        labels: &Tensor,
        dropout: &mut Stream,
    ) -> Result<Recorded> {
        let _ = (x_t, t, labels, dropout);
        candle_core::bail!("the network is not conditioned on classes")
    }
}

/// The class labels that a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLabels {
    /// Number of classes. Their labels are 0 to `classes` − 1.
    pub classes: u32,
    /// The label that stands for no class, if there is one: [`TrainConfig::class_dropout`](crate::TrainConfig) replaces
    /// the labels of some images by it.
    pub without_class: Option<u32>,
}

impl<F: Fn(&Tensor, &Tensor, &mut Stream) -> Result<Recorded>> TrainableDenoiser for F {
    fn predict_train(&self, x_t: &Tensor, t: &Tensor, dropout: &mut Stream) -> Result<Recorded> {
        self(x_t, t, dropout)
    }
}

/// A network over the parameters that are trained, and the same network over their EMA.
pub struct TrainableModel {
    /// The network that is trained.
    pub denoiser: Box<dyn TrainableDenoiser>,
    /// Its parameters, by name. The trainer changes them in place.
    pub parameters: BTreeMap<String, Var>,
    /// The same network over the EMA of the parameters, which samples the previews.
    pub ema_denoiser: Box<dyn Denoiser>,
    /// The network over the parameters without gradients, which samples the second half of the previews while the EMA
    /// is young; `None` for previews of the EMA only.
    pub trained_denoiser: Option<Box<dyn Denoiser>>,
    /// The EMA of the parameters, by the same names. The trainer changes it in place.
    pub ema_parameters: BTreeMap<String, Var>,
    /// What the passes of `denoiser` and the updates of `parameters` share on a GPU: the cache that the network was
    /// given. A new one has no effect.
    pub training_cache: TrainingCache,
    /// The class labels that both networks take; `None` if they are not conditioned on classes.
    pub classes: Option<ClassLabels>,
}

impl TrainableModel {
    /// The gradients of the parameters, by name.
    pub(crate) fn gradients(&self, mut by_parameter: ParameterGradients) -> BTreeMap<String, Gradient> {
        let gradient = |(name, var): (&String, &Var)| Some((name.clone(), by_parameter.take(var)?));
        self.parameters.iter().filter_map(gradient).collect()
    }

    /// Checks that every parameter has an EMA of its shape.
    ///
    /// # Errors
    /// [`TrainerError::Model`] naming the parameter.
    pub(crate) fn validate(&self) -> std::result::Result<(), TrainerError> {
        for (name, parameter) in &self.parameters {
            let found = self.ema_parameters.get(name).map(|average| average.dims());
            if found != Some(parameter.dims()) {
                let found = found.map_or("none".into(), |dims| format!("{dims:?}"));
                let message = format!("the EMA of {name}: expected shape {:?}, found {found}", parameter.dims());
                return Err(TrainerError::Model(message));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for TrainableModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainableModel").field("parameters", &self.parameters.len()).finish_non_exhaustive()
    }
}
