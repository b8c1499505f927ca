//! The common part of all denoising networks.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_nn::VarBuilder;
use ddpm_diffusion::Denoiser;
use ddpm_ops::{ComputeOptions, PackedWeights, Precision, Recorded, TrainingCache};
use ddpm_rng::Stream;

use crate::architecture::{Architecture, Conditioning};
use crate::context::Context;
use crate::error::UnetError;
use crate::parameters::{InitialWeights, ParameterSpec, build_from_tensors, list_parameters};

/// A network that predicts the noise in an image, or what else it was trained to predict, of architecture `A`.
///
/// It takes and returns ordinary candle tensors, on any device; `loss.backward()` differentiates through it. A
/// forward pass is recorded on a [`ddpm_ops::Tape`] and is one operation to candle.
///
/// The network holds the tensors that it was built from: if they are variables, it follows their changes.
#[derive(Debug)]
pub struct DenoisingNetwork<A: Architecture> {
    config: A::Config,
    architecture: A,
    compute: ComputeOptions,
    recompute: bool,
}

/// Construction.
impl<A: Architecture> DenoisingNetwork<A> {
    /// The network of a configuration with the parameters that `vb` provides.
    ///
    /// Any backend of candle can be used: a [`candle_nn::VarMap`], safetensors files, a map of tensors.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide a parameter; candle's backends report the first
    /// one.
    pub fn new(config: &A::Config, vb: VarBuilder<'_>) -> Result<Self, UnetError> {
        A::validate(config)?;
        Ok(Self {
            config: config.clone(),
            architecture: A::new(config, vb)?,
            compute: ComputeOptions::default(),
            recompute: false,
        })
    }

    /// The network of a configuration with exactly these tensors, by name.
    ///
    /// # Errors
    /// When the configuration is invalid, or [`UnetError::Weights`], which lists every tensor that is missing,
    /// unknown or has another shape.
    pub fn from_tensors(config: &A::Config, tensors: &BTreeMap<String, Tensor>) -> Result<Self, UnetError> {
        build_from_tensors(tensors, |vb| Self::new(config, vb))
    }

    /// The network with another precision of its forward and backward pass; [`Precision::F32`] otherwise.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { compute: ComputeOptions { precision, ..self.compute }, ..self }
    }

    /// The network with its weights packed for its kernels once rather than in every pass, for weights that no longer
    /// change. On the CPU a single image takes half the time.
    ///
    /// The packed weights take up to five times the memory of the weights, and at most 1 GiB more on the CPU.
    pub fn with_packed_weights(self) -> Self {
        let packed_weights = Some(PackedWeights::default());
        Self { compute: ComputeOptions { packed_weights, ..self.compute }, ..self }
    }

    /// The network with what its passes share with the updates of its parameters on a GPU; see
    /// [`ddpm_ops::TrainingCache`].
    pub fn with_training_cache(self, cache: TrainingCache) -> Self {
        Self { compute: ComputeOptions { training_cache: Some(cache), ..self.compute }, ..self }
    }

    /// The network with the activations of its residual blocks recomputed in the backward pass rather than saved
    /// (gradient checkpointing). Training takes less memory and more time; gradients are the same up to the order of
    /// sums.
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }
}

/// Parameters of a configuration.
impl<A: Architecture> DenoisingNetwork<A> {
    /// Every parameter of a network of this configuration, by name. Nothing is allocated for their values.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameters(config: &A::Config) -> Result<BTreeMap<String, ParameterSpec>, UnetError> {
        list_parameters(|vb| Self::new(config, vb))
    }

    /// The number of learned values of a network of this configuration.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameter_count(config: &A::Config) -> Result<usize, UnetError> {
        Ok(Self::parameters(config)?.values().map(ParameterSpec::elem_count).sum())
    }

    /// Initial weights by name, f32 on the CPU: a function of the configuration and the seed, with PyTorch's default
    /// distributions.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn initial_weights(config: &A::Config, seed: u64) -> Result<BTreeMap<String, Tensor>, UnetError> {
        Ok(InitialWeights::new(Self::parameters(config)?, seed).tensors()?)
    }
}

/// Prediction.
impl<A: Architecture> DenoisingNetwork<A> {
    /// The configuration that the network was built from.
    pub fn config(&self) -> &A::Config {
        &self.config
    }

    /// The prediction for noisy images.
    ///
    /// `class_labels` are required if the network is conditioned on classes, and not accepted otherwise.
    ///
    /// # Shapes
    /// - `x_t`: [batch, channel, height, width], of any floating-point dtype. Height and width may differ from the
    ///   configuration's if every level halves them evenly.
    /// - `t`: `[batch]`, timesteps counted from 0, of any dtype.
    /// - `class_labels`: `[batch]`, or [batch, time_channels] if they are embeddings already.
    /// - Result: [batch, out_channels, height, width], of the dtype of `x_t`.
    ///
    /// # Errors
    /// When a shape does not fit the configuration, or when class labels are missing or not accepted.
    pub fn forward(&self, x_t: &Tensor, t: &Tensor, class_labels: Option<&Tensor>) -> Result<Tensor, UnetError> {
        Ok(self.record(x_t, t, class_labels, None)?.into_tensor()?)
    }

    /// The prediction in training, with dropout masks drawn from `dropout`, and with the record of the pass, from which
    /// [`Recorded::backward`] computes the gradients without candle's backward pass.
    ///
    /// # Errors
    /// Those of [`Self::forward`].
    pub fn forward_train(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        class_labels: Option<&Tensor>,
        dropout: &mut Stream,
    ) -> Result<Recorded, UnetError> {
        self.record(x_t, t, class_labels, Some(dropout))
    }

    fn record(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        class_labels: Option<&Tensor>,
        dropout: Option<&mut Stream>,
    ) -> Result<Recorded, UnetError> {
        let (batch, channels, height, width) = x_t.dims4()?;
        A::check_image(&self.config, channels, height, width)?;
        check_conditioning(batch, t, class_labels, A::takes_class_labels(&self.config))?;
        let conditioning = Conditioning { timesteps: t, class_labels };
        Ok(ddpm_ops::recorded(&self.compute, &[x_t], |tape, values| {
            let time = self.architecture.embed(tape, &conditioning)?;
            let context = match dropout {
                Some(stream) => Context::new(tape, time)
                    .with_dropout(A::dropout(&self.config), stream)
                    .with_recompute(self.recompute),
                None => Context::new(tape, time),
            };
            self.architecture.forward(&values[0], &context)
        })?)
    }
}

/// Checks that there is one timestep for each image, and one class label exactly if the network takes them.
fn check_conditioning(
    batch: usize,
    t: &Tensor,
    class_labels: Option<&Tensor>,
    takes_class_labels: bool,
) -> Result<(), UnetError> {
    if t.dims() != [batch] {
        return Err(UnetError::input("t", format!("one timestep per image, [{batch}]"), format!("{:?}", t.dims())));
    }
    let one_per_image = || format!("one per image, {batch}, because the network is conditioned on classes");
    match (takes_class_labels, class_labels) {
        (false, None) => Ok(()),
        (true, Some(labels)) if labels.dims().first() == Some(&batch) => Ok(()),
        (true, Some(labels)) => Err(UnetError::input("class_labels", one_per_image(), format!("{:?}", labels.dims()))),
        (true, None) => Err(UnetError::input("class_labels", one_per_image(), "none")),
        (false, Some(labels)) => {
            let found = format!("{:?}", labels.dims());
            Err(UnetError::input("class_labels", "none, because the network is not conditioned on classes", found))
        }
    }
}

impl<A: Architecture> Denoiser for DenoisingNetwork<A> {
    fn predict(&self, x_t: &Tensor, t: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x_t, t, None)?)
    }

    fn predict_for_classes(&self, x_t: &Tensor, t: &Tensor, labels: &Tensor) -> candle_core::Result<Tensor> {
        Ok(self.forward(x_t, t, Some(labels))?)
    }
}
