//! The variational bound of a model on test images, in bits per dimension.

use candle_core::{Device, Tensor};
use ddpm_cli::{Progress, StopSignal};
use ddpm_data::PreparedImages;
use ddpm_diffusion::{Denoiser, GuidedDenoiser, ReverseVariance, VariationalBoundConfig};
use ddpm_rng::{ImageNoise, Purpose};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// The bound on the negative log-likelihood, as Ho et al. 2020 and Nichol & Dhariwal 2021 compute it: all T terms with
/// one draw of x_t per image, predicted x_0 clipped to [−1, 1], and the averaged weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BitsPerDim {
    /// L_T + Σ L_{t−1} + L_0, the mean over the images.
    pub(crate) total: f64,
    /// The standard error of the mean, from the spread of the images.
    pub(crate) standard_error: f64,
    /// L_T, the prior term.
    pub(crate) prior: f64,
    /// Σ L_{t−1} over the terms of t > 1.
    pub(crate) transitions: f64,
    /// L_0, the decoder term.
    pub(crate) decoder: f64,
    /// The variance of the reverse process.
    pub(crate) variance: ReverseVariance,
    pub(crate) images: usize,
}

/// Evaluates the bound on `test`; None if a signal stopped it.
///
/// # Errors
/// When a prediction fails.
pub(crate) fn bits_per_dim(
    plan: &Plan,
    test: &PreparedImages,
    device: &Device,
    progress: &Progress,
    stop: &StopSignal,
) -> anyhow::Result<Option<BitsPerDim>> {
    let count = test.images.dim(0)?;
    let config = VariationalBoundConfig { variance: plan.sampler.variance, clip_denoised: true };
    let batches = count.div_ceil(plan.batch_size);
    let bar = progress.bar(0, (batches * plan.diffusion.schedule().len()) as u64, "predictions");
    let (mut images, mut terms) = (Vec::with_capacity(count), [0.0; 3]);
    for from in (0..count).step_by(plan.batch_size) {
        let size = plan.batch_size.min(count - from);
        let x_0 = test.images.narrow(0, from, size)?.to_device(device)?;
        let mut noise = ImageNoise::new(plan.seed, Purpose::Evaluation, from as u64, size);
        let labels = test.labels.as_ref().map(|labels| &labels[from..from + size]);
        let denoiser = denoiser(plan, labels, size)?;
        let observed = Observed { denoiser: &denoiser, bar: &bar, stop };
        let bound = match plan.diffusion.variational_bound(&observed, &x_0, config, &mut noise) {
            _ if stop.received().is_some() => return Ok(None),
            bound => bound?,
        };
        let share = size as f64 / count as f64;
        let sums = [bound.prior, bound.terms[1..].iter().sum(), bound.terms[0]];
        terms.iter_mut().zip(sums).for_each(|(term, sum)| *term += share * sum);
        images.extend(bound.images);
    }
    bar.finish_and_clear();
    let total = images.iter().sum::<f64>() / count as f64;
    let variance = images.iter().map(|value| (value - total).powi(2)).sum::<f64>() / (count as f64 - 1.0).max(1.0);
    let [prior, transitions, decoder] = terms;
    Ok(Some(BitsPerDim {
        total,
        standard_error: (variance / count as f64).sqrt(),
        prior,
        transitions,
        decoder,
        variance: config.variance,
        images: count,
    }))
}

/// The network with the classes of the images, and without guidance, which no likelihood belongs to.
fn denoiser<'a>(plan: &'a Plan, labels: Option<&[u32]>, images: usize) -> anyhow::Result<GuidedDenoiser<'a>> {
    let denoiser = GuidedDenoiser::new(&plan.network, &plan.diffusion, Default::default())?;
    Ok(match (&plan.classes, labels) {
        (Some(_), Some(labels)) => denoiser.with_classes(labels),
        (Some(classes), None) => match classes.without_class {
            Some(label) => denoiser.with_classes(&vec![label; images]),
            None => anyhow::bail!("the model needs the classes of the test images, and they have none"),
        },
        (None, _) => denoiser,
    })
}

/// A denoiser that counts its predictions and fails when a signal arrives.
struct Observed<'a> {
    denoiser: &'a dyn Denoiser,
    bar: &'a indicatif::ProgressBar,
    stop: &'a StopSignal,
}

impl Denoiser for Observed<'_> {
    fn predict(&self, x_t: &Tensor, t: &Tensor) -> candle_core::Result<Tensor> {
        if self.stop.received().is_some() {
            candle_core::bail!("stopped by a signal");
        }
        self.bar.inc(1);
        self.denoiser.predict(x_t, t)
    }
}
