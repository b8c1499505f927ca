//! A network as a denoiser of images of given classes, with guidance.

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use ddpm_schedule::Schedule;

use crate::error::check_shape;
use crate::{Denoiser, DiffusionError, GaussianDiffusion, Guidance};

/// A network as a denoiser of images of given classes, and with guidance, which [`sample`](crate::sample) can use with
/// every method.
///
/// Where predictions are guided without a class, the network is evaluated once with twice the batch: the images with
/// their classes, then the same images without. Elsewhere it is evaluated with their classes only.
///
/// # Examples
/// ```
/// use candle_core::{Device, Result, Tensor};
/// use ddpm_diffusion::{GuidedDenoiser, Denoiser, GaussianDiffusion, Guidance};
/// use ddpm_schedule::{BetaSchedule, Schedule};
///
/// /// Predicts the number of the class.
/// struct Labels;
///
/// impl Denoiser for Labels {
///     fn predict(&self, x_t: &Tensor, _: &Tensor) -> Result<Tensor> {
///         x_t.zeros_like()
///     }
///
///     fn predict_for_classes(&self, x_t: &Tensor, _: &Tensor, labels: &Tensor) -> Result<Tensor> {
///         let labels = labels.to_dtype(x_t.dtype())?.reshape(((), 1, 1, 1))?;
///         x_t.zeros_like()?.broadcast_add(&labels)
///     }
/// }
///
/// let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000)?;
/// let diffusion = GaussianDiffusion::new(schedule);
/// let guidance = Guidance { scale: 3.0, ..Guidance::default() };
/// // Images of the classes 5 and 7; label 10 stands for no class.
/// let guided = GuidedDenoiser::new(&Labels, &diffusion, guidance)?.with_classes(&[5, 7]).without_class(10);
/// let x_t = Tensor::new(&[0f32, 0.0], &Device::Cpu)?.reshape((2, 1, 1, 1))?;
/// let t = Tensor::new(&[9f32, 9.0], &Device::Cpu)?;
/// // 10 + 3 · (5 − 10) and 10 + 3 · (7 − 10)
/// assert_eq!(guided.predict(&x_t, &t)?.flatten_all()?.to_vec1::<f32>()?, [-5.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct GuidedDenoiser<'a> {
    denoiser: &'a dyn Denoiser,
    schedule: Schedule,
    guidance: Guidance,
    /// The class of each image of a batch; `None` for a network without classes.
    labels: Option<Vec<u32>>,
    reference: Reference<'a>,
}

/// What guided predictions move away from.
enum Reference<'a> {
    /// Nothing: predictions are not guided.
    None,
    /// The prediction of the same network for this label, which stands for no class.
    Unconditional(u32),
    /// The prediction of another network.
    Guide { denoiser: &'a dyn Denoiser, takes_labels: bool },
}

impl<'a> GuidedDenoiser<'a> {
    /// The denoiser itself: until [`without_class`](Self::without_class) or [`with_guide`](Self::with_guide) is called,
    /// predictions cannot be guided.
    ///
    /// # Errors
    /// The errors of [`Guidance::validate`].
    pub fn new(
        denoiser: &'a dyn Denoiser,
        diffusion: &GaussianDiffusion,
        guidance: Guidance,
    ) -> Result<Self, DiffusionError> {
        guidance.validate()?;
        let schedule = diffusion.schedule().clone();
        Ok(Self { denoiser, schedule, guidance, labels: None, reference: Reference::None })
    }

    /// The same denoiser for images of the classes `labels`, one for each image of a batch.
    pub fn with_classes(self, labels: &[u32]) -> Self {
        Self { labels: Some(labels.to_vec()), ..self }
    }

    /// The same denoiser, guided away from the prediction for `label`, which stands for no class (Ho & Salimans 2022).
    pub fn without_class(self, label: u32) -> Self {
        Self { reference: Reference::Unconditional(label), ..self }
    }

    /// The same denoiser, guided away from the prediction of `guide`, a weaker network for the same diffusion process
    /// (autoguidance, Karras et al. 2024a). `takes_labels` states whether it is conditioned on the same classes.
    pub fn with_guide(self, guide: &'a dyn Denoiser, takes_labels: bool) -> Self {
        Self { reference: Reference::Guide { denoiser: guide, takes_labels }, ..self }
    }

    /// The factor of each image's guidance, from its timestep: 1 where it is not guided.
    fn scales(&self, t: &Tensor) -> Result<Vec<f64>, DiffusionError> {
        let timesteps = t.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let labels = self.labels.as_ref().map_or(timesteps.len(), Vec::len);
        check_shape("the classes", &[labels], &[timesteps.len()])?;
        let scale = |timestep: f64| {
            let i = (timestep.round().max(0.0) as usize).min(self.schedule.len() - 1);
            let sigma = self.schedule.sqrt_one_minus_alpha_bar(i) / self.schedule.sqrt_alpha_bar(i);
            if self.guidance.applies_at(sigma) { self.guidance.scale } else { 1.0 }
        };
        Ok(timesteps.into_iter().map(scale).collect())
    }

    /// The prediction that is guided, and the one to move away from.
    fn predict_both(&self, x_t: &Tensor, t: &Tensor, labels: Option<&Tensor>) -> CandleResult<(Tensor, Tensor)> {
        match (&self.reference, labels) {
            (Reference::Unconditional(label), Some(labels)) => {
                let batch = x_t.dim(0)?;
                let no_class = Tensor::full(*label, batch, &Device::Cpu)?;
                let (x_t, t) = (Tensor::cat(&[x_t, x_t], 0)?, Tensor::cat(&[t, t], 0)?);
                let labels = Tensor::cat(&[labels, &no_class], 0)?;
                let both = self.denoiser.predict_for_classes(&x_t, &t, &labels)?;
                Ok((both.narrow(0, 0, batch)?, both.narrow(0, batch, batch)?))
            }
            (Reference::Guide { denoiser, takes_labels }, _) => {
                let weak = predict(*denoiser, x_t, t, labels.filter(|_| *takes_labels))?;
                Ok((predict(self.denoiser, x_t, t, labels)?, weak))
            }
            (Reference::None | Reference::Unconditional(_), _) => {
                candle_core::bail!("guidance needs classes and a label that stands for no class, or another network")
            }
        }
    }
}

fn predict(denoiser: &dyn Denoiser, x_t: &Tensor, t: &Tensor, labels: Option<&Tensor>) -> CandleResult<Tensor> {
    match labels {
        Some(labels) => denoiser.predict_for_classes(x_t, t, labels),
        None => denoiser.predict(x_t, t),
    }
}

impl std::fmt::Debug for GuidedDenoiser<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { guidance, labels, .. } = self;
        f.debug_struct("GuidedDenoiser").field("guidance", guidance).field("labels", labels).finish_non_exhaustive()
    }
}

/// A learned variance, which follows the prediction along the channel axis, is that of the prediction for the class.
impl Denoiser for GuidedDenoiser<'_> {
    fn predict(&self, x_t: &Tensor, t: &Tensor) -> CandleResult<Tensor> {
        let scales = self.scales(t)?;
        let labels = self.labels.as_ref().map(|labels| Tensor::new(labels.as_slice(), &Device::Cpu)).transpose()?;
        if scales.iter().all(|scale| *scale == 1.0) {
            return predict(self.denoiser, x_t, t, labels.as_ref());
        }
        let (output, reference) = self.predict_both(x_t, t, labels.as_ref())?;
        let channels = x_t.dim(1)?;
        let [conditional, reference] = [&output, &reference].map(|output| output.narrow(1, 0, channels));
        let guided = guide(&conditional?, &reference?, &scales, self.guidance.rescale)?;
        match output.dim(1)? - channels {
            0 => Ok(guided),
            more => Tensor::cat(&[&guided, &output.narrow(1, channels, more)?], 1),
        }
    }
}

/// D_0 + scale · (D − D_0) for each image, and its standard deviation restored to that of D by the share `rescale`
/// (Lin et al. 2024, eq. 15 and 16).
fn guide(conditional: &Tensor, reference: &Tensor, scales: &[f64], rescale: f64) -> CandleResult<Tensor> {
    let scales = Tensor::new(scales, &Device::Cpu)?.reshape(((), 1, 1, 1))?;
    let scales = scales.to_dtype(conditional.dtype())?.to_device(conditional.device())?;
    let guided = (reference + (conditional - reference)?.broadcast_mul(&scales)?)?;
    if rescale == 0.0 {
        return Ok(guided);
    }
    let ratio = (deviation(conditional)? / deviation(&guided)?)?;
    guided.broadcast_mul(&ratio.affine(rescale, 1.0 - rescale)?)
}

/// The standard deviation of the values of each image, [batch, 1, 1, 1].
fn deviation(images: &Tensor) -> CandleResult<Tensor> {
    images.flatten_from(1)?.var_keepdim(1)?.sqrt()?.reshape(((), 1, 1, 1))
}
