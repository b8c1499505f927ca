//! The weighted squared error of the network's output, of which L_simple is the case with uniform weights.

use candle_core::{DType, Tensor};

use crate::loss_and_gradient::LossAndGradient;
use crate::objective::{NoisyBatch, Objective};
use crate::squared_error_target::SquaredErrorTarget;
use crate::{DiffusionError, GaussianDiffusion, LossWeighting, UniformWeighting};

/// The mean over all elements of a batch of w(t) (target − output)², where the target is what the network should
/// predict ([`GaussianDiffusion::target`]: ε, x_0 or v) and w(t) the weight of the image's timestep.
///
/// With [`UniformWeighting`] this is L_simple (Ho et al. 2020, eq. 14) for a network that predicts ε, and the same
/// loss for x_0 and v.
///
/// DIFFERENCE: Ho et al. define L_simple with the sum over the elements of an image, and compute the mean over them,
/// as here. With the mean, a limit on the gradient's norm has the same meaning at every image size.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use ddpm_diffusion::{GaussianDiffusion, NoisyBatch, Objective, WeightedSquaredError};
/// use ddpm_schedule::{BetaSchedule, Schedule};
///
/// let diffusion = GaussianDiffusion::new(Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000)?);
/// let x_0 = Tensor::zeros((2, 1, 4, 4), DType::F32, &Device::Cpu)?;
/// let eps = x_0.ones_like()?;
/// let t = [10, 500];
/// let x_t = diffusion.q_sample(&x_0, &t, &eps)?;
/// let batch = NoisyBatch { x_0: &x_0, t: &t, eps: &eps, x_t: &x_t };
///
/// let output = (&eps * 0.5)?;
/// let found = WeightedSquaredError::l_simple().loss_and_gradient(&diffusion, &batch, &output)?;
/// assert_eq!(found.loss.to_scalar::<f32>()?, 0.25);
/// // 2 (output − target) / 32 elements.
/// assert_eq!(found.gradient.flatten_all()?.to_vec1::<f32>()?, [-0.03125; 32]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightedSquaredError<W> {
    weighting: W,
}

impl WeightedSquaredError<UniformWeighting> {
    /// L_simple: the squared error with the same weight for every timestep.
    pub fn l_simple() -> Self {
        Self::new(UniformWeighting)
    }
}

impl<W: LossWeighting> WeightedSquaredError<W> {
    /// The squared error with the weights of `weighting`.
    pub fn new(weighting: W) -> Self {
        Self { weighting }
    }
}

impl<W: LossWeighting> Objective for WeightedSquaredError<W> {
    /// # Errors
    /// When the shapes differ, an index is not in the schedule, or a weight is not finite.
    fn loss_and_gradient(
        &self,
        diffusion: &GaussianDiffusion,
        batch: &NoisyBatch<'_>,
        output: &Tensor,
    ) -> Result<LossAndGradient, DiffusionError> {
        self.target(diffusion, batch)?.loss_and_gradient(output)
    }

    /// # Errors
    /// When the shapes differ, an index is not in the schedule, or a weight is not finite.
    fn squared_error_target(
        &self,
        diffusion: &GaussianDiffusion,
        batch: &NoisyBatch<'_>,
    ) -> Result<Option<SquaredErrorTarget>, DiffusionError> {
        self.target(diffusion, batch).map(Some)
    }
}

impl<W: LossWeighting> WeightedSquaredError<W> {
    fn target(
        &self,
        diffusion: &GaussianDiffusion,
        batch: &NoisyBatch<'_>,
    ) -> Result<SquaredErrorTarget, DiffusionError> {
        let target = diffusion.target(batch.x_0, batch.eps, batch.t)?;
        let weight = |t| self.weighting.weight(diffusion, t);
        // Weights of 1 change no bit, and skipping them saves a pass over the gradient.
        let weights = if batch.t.iter().all(|t| weight(*t) == 1.0) {
            None
        } else {
            let wide = if target.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            let like = Tensor::zeros(target.dim(0)?, wide, target.device())?;
            Some(diffusion.per_image(batch.t, &like, weight)?)
        };
        Ok(SquaredErrorTarget { target, weights })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result as CandleResult, Var};
    use ddpm_rng::{Purpose, Stream};
    use ddpm_schedule::{BetaSchedule, Prediction, Schedule};

    use super::*;

    fn diffusion(prediction: Prediction) -> GaussianDiffusion {
        let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap();
        GaussianDiffusion::new(schedule).with_prediction(prediction)
    }

    fn normal(seed: u64) -> Tensor {
        let shape = (3, 2, 2, 2);
        Stream::new(seed, Purpose::Synthetic, 0).normal(shape, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap()
    }

    /// 1 + t / 1000.
    #[derive(Debug)]
    struct RisingWeighting;

    impl LossWeighting for RisingWeighting {
        fn weight(&self, _: &GaussianDiffusion, t: usize) -> f64 {
            1.0 + t as f64 / 1000.0
        }
    }

    const T: [usize; 3] = [0, 500, 999];

    /// Loss and gradient of an objective against candle's backward pass through the definition.
    fn check(objective: &dyn Objective, weights: [f64; 3]) -> CandleResult<()> {
        for prediction in [Prediction::Epsilon, Prediction::X0, Prediction::V] {
            let diffusion = diffusion(prediction);
            let (x_0, eps) = (normal(0), normal(1));
            let x_t = diffusion.q_sample(&x_0, &T, &eps).unwrap();
            let target = diffusion.target(&x_0, &eps, &T).unwrap();
            let output = Var::from_tensor(&normal(2))?;
            let weights = Tensor::new(&weights, &Device::Cpu)?.reshape((3, 1, 1, 1))?;
            let expected = output.sub(&target)?.sqr()?.broadcast_mul(&weights)?.mean_all()?;
            let expected_gradient = expected.backward()?.remove(&output).unwrap();

            let batch = NoisyBatch { x_0: &x_0, t: &T, eps: &eps, x_t: &x_t };
            let found = objective.loss_and_gradient(&diffusion, &batch, &output).unwrap();
            assert!((found.loss.to_scalar::<f64>()? - expected.to_scalar::<f64>()?).abs() < 1e-12);
            let difference = (found.gradient - expected_gradient)?.abs()?.max_all()?.to_scalar::<f64>()?;
            assert!(difference < 1e-12, "{prediction:?}: {difference:e}");
        }
        Ok(())
    }

    #[test]
    fn loss_and_gradient_agree_with_the_definition() -> CandleResult<()> {
        check(&WeightedSquaredError::new(UniformWeighting), [1.0; 3])?;
        check(&WeightedSquaredError::new(RisingWeighting), [1.0, 1.5, 1.999])
    }

    #[test]
    fn an_output_of_another_shape_is_an_error() {
        let (x_0, eps) = (normal(0), normal(1));
        let batch = NoisyBatch { x_0: &x_0, t: &T, eps: &eps, x_t: &x_0 };
        let output = Tensor::cat(&[&eps, &eps], 1).unwrap();
        let found =
            WeightedSquaredError::l_simple().loss_and_gradient(&diffusion(Prediction::Epsilon), &batch, &output);
        assert!(matches!(found, Err(DiffusionError::Shape { .. })));
    }

    /// (f(x + δ) − f(x − δ)) / 2δ along a random direction in f32: the gradient must predict the change.
    #[test]
    fn the_gradient_predicts_finite_differences() -> CandleResult<()> {
        let single = |seed| normal(seed).to_dtype(DType::F32);
        let diffusion = diffusion(Prediction::Epsilon);
        let (x_0, eps, output, direction) = (single(0)?, single(1)?, single(2)?, single(3)?);
        let batch = NoisyBatch { x_0: &x_0, t: &T, eps: &eps, x_t: &x_0 };
        for objective in
            [&WeightedSquaredError::l_simple() as &dyn Objective, &WeightedSquaredError::new(RisingWeighting)]
        {
            let loss_and_gradient = |output: &Tensor| objective.loss_and_gradient(&diffusion, &batch, output).unwrap();
            // Rounding in f32 costs 1e-7 · |f| / δ, and a quadratic function has no error of curvature.
            let delta = 1e-2;
            let moved = |sign: f64| -> CandleResult<f64> {
                let output = (&output + (&direction * (sign * delta))?)?;
                Ok(loss_and_gradient(&output).loss.to_scalar::<f32>()?.into())
            };
            let slope = (moved(1.0)? - moved(-1.0)?) / (2.0 * delta);
            let predicted = loss_and_gradient(&output).gradient.mul(&direction)?.sum_all()?.to_scalar::<f32>()?;
            assert!((slope - f64::from(predicted)).abs() < 1e-2 * slope.abs().max(1.0), "{slope} {predicted}");
        }
        Ok(())
    }
}
