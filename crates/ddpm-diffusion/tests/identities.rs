//! Identities of the forward process and its posterior, and invalid inputs.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use candle_core::{DType, Device, Tensor, Var};
use ddpm_diffusion::{DiffusionError, GaussianDiffusion, NoisyBatch, Objective, WeightedSquaredError};
use ddpm_rng::{Purpose, Stream};
use ddpm_schedule::{BetaSchedule, Prediction, Schedule, VarianceKind};
use ddpm_testkit::assert_close;

fn diffusion() -> GaussianDiffusion {
    GaussianDiffusion::new(Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap())
}

fn normal(position: u64, shape: &[usize]) -> Tensor {
    let draw = Stream::new(0, Purpose::Evaluation, position).normal(shape, &Device::Cpu).unwrap();
    draw.to_dtype(DType::F64).unwrap()
}

#[test]
fn noising_then_recovering_is_the_identity() {
    let (x_0, eps) = (normal(0, &[4, 2, 3, 5]), normal(1, &[4, 2, 3, 5]));
    let t = [0, 1, 500, 999];
    let x_t = diffusion().q_sample(&x_0, &t, &eps).unwrap();
    let back = diffusion().predict_x0(&x_t, &t, &eps).unwrap();
    // Rounding in f64, divided by √ᾱ_T = 6e-3.
    assert_close("x_0", &back, &x_0, 1e-12);
}

#[test]
fn each_image_has_its_own_timestep() {
    let (x_0, eps) = (normal(0, &[2, 1, 4, 4]), normal(1, &[2, 1, 4, 4]));
    let both = diffusion().q_sample(&x_0, &[3, 700], &eps).unwrap();
    for (i, t) in [3, 700].into_iter().enumerate() {
        let part = |x: &Tensor| x.narrow(0, i, 1).unwrap();
        let alone = diffusion().q_sample(&part(&x_0), &[t], &part(&eps)).unwrap();
        assert_close("x_t", &part(&both), &alone, 0.0);
    }
}

/// The mean of a reverse step computed from ε̂ (Ho et al. 2020, eq. 11) and from predicted x_0 (eq. 7).
#[test]
fn the_means_of_eq_7_and_eq_11_are_equal() {
    let (x_t, eps) = (normal(0, &[5, 1, 4, 4]), normal(1, &[5, 1, 4, 4]));
    let t = [0, 1, 10, 500, 999];
    let by_eps = diffusion().model_mean(&x_t, &t, &eps).unwrap();
    let x_0 = diffusion().predict_x0(&x_t, &t, &eps).unwrap();
    let by_x0 = diffusion().q_posterior(&x_0, &x_t, &t).unwrap();
    assert_close("mean", &by_x0.mean, &by_eps, 1e-11);
    assert_eq!(by_x0.variance[0], 0.0);
    assert!(by_x0.log_variance_clipped.iter().all(|v| v.is_finite()));
}

/// The integral of q(x_{t−1} | x_t, x_0) q(x_t | x_0) over x_t is q(x_{t−1} | x_0): means and variances agree.
#[test]
fn the_posterior_is_consistent_with_the_forward_process() {
    let diffusion = diffusion();
    let schedule = diffusion.schedule();
    for t in [1, 2, 500, 999] {
        let x_0 = normal(0, &[1, 1, 4, 4]);
        let mean_t = (&x_0 * schedule.sqrt_alpha_bar(t)).unwrap();
        let posterior = diffusion.q_posterior(&x_0, &mean_t, &[t]).unwrap();
        assert_close("mean", &posterior.mean, &(&x_0 * schedule.sqrt_alpha_bar(t - 1)).unwrap(), 1e-12);
        let carried = schedule.posterior_mean_coef_xt(t).powi(2) * schedule.one_minus_alpha_bar(t);
        let variance = carried + posterior.variance[0];
        assert!((variance - schedule.one_minus_alpha_bar(t - 1)).abs() < 1e-12, "t = {t}: {variance}");
    }
}

/// The composition of the single steps q(x_t | x_{t−1}) = N(√(1 − β_t) x_{t−1}, β_t I) is q(x_t | x_0). Bayes' rule, by
/// which the precisions of q(x_t | x_{t−1}) and q(x_{t−1} | x_0) add up, gives the posterior.
#[test]
fn single_forward_steps_compose_and_bayes_rule_gives_the_posterior() {
    let diffusion = diffusion();
    let schedule = diffusion.schedule();
    let (mut signal, mut variance) = (1.0f64, 0.0f64);
    for t in 0..schedule.len() {
        let beta = schedule.beta(t);
        if t > 0 {
            let precision = (1.0 - beta) / beta + variance.recip();
            let from_xt = (1.0 - beta).sqrt() / beta / precision;
            let from_x0 = signal / variance / precision;
            assert!((precision.recip() - schedule.posterior_variance(t)).abs() < 1e-14, "β̃ at {t}");
            assert!((from_xt - schedule.posterior_mean_coef_xt(t)).abs() < 1e-12, "coefficient of x_t at {t}");
            assert!((from_x0 - schedule.posterior_mean_coef_x0(t)).abs() < 1e-12, "coefficient of x_0 at {t}");
        }
        (signal, variance) = ((1.0 - beta).sqrt() * signal, (1.0 - beta) * variance + beta);
        assert!((signal - schedule.sqrt_alpha_bar(t)).abs() < 1e-13, "√ᾱ at {t}");
        assert!((variance - schedule.one_minus_alpha_bar(t)).abs() < 1e-13, "1 − ᾱ at {t}");
    }
}

#[test]
fn losses_can_be_differentiated_and_agree_with_their_definition() {
    let eps = normal(0, &[3, 2, 2, 2]);
    let eps_hat = Var::from_tensor(&normal(1, &[3, 2, 2, 2])).unwrap();
    let difference = (eps_hat.as_tensor() - &eps).unwrap();
    let t = [0, 10, 999];
    let batch = NoisyBatch { x_0: &eps, t: &t, eps: &eps, x_t: &eps };
    let simple = WeightedSquaredError::l_simple().loss_and_gradient(&diffusion(), &batch, &eps_hat).unwrap();
    let mean = difference.sqr().unwrap().mean_all().unwrap();
    assert_close("L_simple", &simple.loss, &mean, 1e-12);
    assert_close("gradient", &simple.gradient, &(&difference * (2.0 / 24.0)).unwrap(), 1e-12);

    let weighted = diffusion().weighted_loss(eps_hat.as_tensor(), &eps, &t, VarianceKind::FixedLarge).unwrap();
    let diffusion = diffusion();
    let schedule = diffusion.schedule();
    let squares = difference.sqr().unwrap().flatten_from(1).unwrap().sum(1).unwrap().to_vec1::<f64>().unwrap();
    for (i, found) in weighted.to_vec1::<f64>().unwrap().into_iter().enumerate().skip(1) {
        // σ² = β: the weight is β / (2 α (1 − ᾱ)).
        let weight = schedule.beta(t[i]) / (2.0 * schedule.alpha(t[i]) * schedule.one_minus_alpha_bar(t[i]));
        assert!((found - weight * squares[i]).abs() < 1e-12 * found, "{found}");
    }
}

#[test]
fn invalid_inputs_are_errors() {
    let x = normal(0, &[2, 1, 2, 2]);
    let other = normal(0, &[2, 1, 2, 3]);
    assert!(matches!(
        diffusion().q_sample(&x, &[0, 1000], &x),
        Err(DiffusionError::Timestep { found: 1000, len: 1000 })
    ));
    assert!(matches!(diffusion().q_sample(&x, &[0], &x), Err(DiffusionError::Shape { what: "t", .. })));
    assert!(matches!(diffusion().q_sample(&x, &[0, 1], &other), Err(DiffusionError::Shape { what: "eps", .. })));
    let batch = NoisyBatch { x_0: &x, t: &[0, 1], eps: &x, x_t: &x };
    assert!(WeightedSquaredError::l_simple().loss_and_gradient(&diffusion(), &batch, &other).is_err());
    let scalar = Tensor::new(0.5f64, &Device::Cpu).unwrap();
    assert!(matches!(diffusion().q_sample(&scalar, &[0], &scalar), Err(DiffusionError::Shape { what: "t", .. })));
}

/// For each prediction, x_0 and ε can be recovered from the training target.
#[test]
fn x_0_and_eps_follow_from_the_target() {
    let (x_0, eps) = (normal(0, &[4, 2, 3, 5]), normal(1, &[4, 2, 3, 5]));
    let t = [0, 1, 500, 999];
    let x_t = diffusion().q_sample(&x_0, &t, &eps).unwrap();
    for prediction in [Prediction::Epsilon, Prediction::X0, Prediction::V] {
        let diffusion = diffusion().with_prediction(prediction);
        let target = diffusion.target(&x_0, &eps, &t).unwrap();
        let denoised = diffusion.denoised(&x_t, &t, &target).unwrap();
        // Rounding in f64, divided by √ᾱ_T = 6e-3 or by √(1 − ᾱ_1) = 0.01.
        assert_close("x_0", &denoised.x_0, &x_0, 1e-12);
        assert_close("eps", &denoised.eps, &eps, 1e-12);
        let doubled = Tensor::cat(&[&target, &target], 1).unwrap();
        assert!(matches!(diffusion.denoised(&x_t, &t, &doubled), Err(DiffusionError::Shape { .. })));
    }
}
