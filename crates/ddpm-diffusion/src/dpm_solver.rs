//! Multistep DPM-Solver++ and its stochastic form, SDE-DPM-Solver++ (Lu et al. 2022b).

use std::collections::VecDeque;

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::sampler_context::{SamplerContext, draw_noise};
use crate::{DiffusionError, Method};

/// Predicted x_0 and λ of the previous steps, the most recent first.
#[derive(Debug, Default)]
pub(crate) struct MultistepHistory {
    evaluations: VecDeque<(Tensor, f64)>,
}

/// With fewer steps than this, the last steps have a lower order, as in the authors' code.
const LOWER_ORDER_FINAL_STEPS: usize = 15;

/// One step of the exponential integrator of Lu et al. 2022b, proposition 4.1 and algorithm 2. In the notation of the
/// paper α_t = √ᾱ_t, σ_t = √(1 − ᾱ_t), λ_t = ln(α_t / σ_t) and h = λ_{t−1} − λ_t. With u = (λ − λ_t) / h,
///
/// x_{t−1} = σ_{t−1} / σ_t x_t + α_{t−1} ∫ h e^{−h (1 − u)} x̂_0(u) du over [0, 1],
///
/// where x̂_0(u) is the polynomial through predicted x_0 at this step and at up to `order` − 1 previous ones.
/// SDE-DPM-Solver++ uses 2h instead of h in the integral, multiplies the first term by e^{−h}, and adds
/// σ_{t−1} √(1 − e^{−2h}) z. The last step, to λ = ∞, returns predicted x_0.
///
/// DIFFERENCE: the authors' code and diffusers multiply the quadratic term by half of the weight that the integral
/// gives it, which reduces their third order to the second; in the SDE diffusers also has the opposite sign there.
///
/// DIFFERENCE: if ᾱ_T = 0, diffusers replaces it by 2⁻²⁴. Here λ_T is −∞, and the step after it is of first order.
pub(crate) fn step(
    context: &SamplerContext<'_>,
    x: &Tensor,
    i: usize,
    noise: &mut ImageNoise,
    history: &mut MultistepHistory,
) -> Result<Tensor, DiffusionError> {
    let schedule = context.schedule();
    let x_0 = context.evaluate(x, i)?.denoised.x_0;
    if i == 0 {
        return Ok(x_0);
    }
    let lambda = |i: usize| 0.5 * schedule.log_snr(i);
    let (lambda_t, h) = (lambda(i), lambda(i - 1) - lambda(i));
    history.truncate(order_of_step(context, i) - 1);

    let stochastic = context.config.method == Method::DpmSolverSde;
    // h is infinite where ᾱ_t = 0. The largest f64 gives the same weights without producing NaN: e^{−h} is 0 for both.
    let integral_h = if stochastic { 2.0 * h } else { h }.min(f64::MAX);
    let integral = integrate(&x_0, lambda_t, &history.evaluations, h, integral_h)?;
    history.evaluations.push_front((x_0, lambda_t));

    let sigma_next = schedule.sqrt_one_minus_alpha_bar(i - 1);
    let decay = if stochastic { (-h).exp() } else { 1.0 };
    let x_coef = sigma_next / schedule.sqrt_one_minus_alpha_bar(i) * decay;
    let mean = ((x * x_coef)? + (integral * schedule.sqrt_alpha_bar(i - 1))?)?;
    if !stochastic {
        return Ok(mean);
    }
    let noise_scale = sigma_next * (-(-integral_h).exp_m1()).sqrt();
    Ok((mean + (draw_noise(noise, x)? * noise_scale)?)?)
}

/// The order of the step at index `i`: the configured one, but lower at the end of a short schedule.
fn order_of_step(context: &SamplerContext<'_>, i: usize) -> usize {
    let steps_left = i + 1;
    let order = context.config.order;
    if context.schedule().len() < LOWER_ORDER_FINAL_STEPS { order.min(steps_left) } else { order }
}

impl MultistepHistory {
    /// Keeps at most `len` evaluations, and drops those that no polynomial in λ can pass through: λ is −∞ where ᾱ is 0.
    fn truncate(&mut self, len: usize) {
        let finite = self.evaluations.iter().take_while(|(_, lambda)| lambda.is_finite()).count();
        self.evaluations.truncate(len.min(finite));
    }
}

/// The weights φ_k of u^k for k = 0, 1, 2 in the integral: ∫ h e^{−h (1 − u)} u^k du over [0, 1].
fn monomial_weights(h: f64) -> [f64; 3] {
    let phi_0 = -(-h).exp_m1();
    // Integration by parts gives differences of nearly equal numbers for a small h, where two terms of the series
    // suffice.
    if h < 1e-3 {
        return [phi_0, h / 2.0 - h * h / 6.0, h / 3.0 - h * h / 12.0];
    }
    let phi_1 = 1.0 - phi_0 / h;
    [phi_0, phi_1, 1.0 - 2.0 * phi_1 / h]
}

/// φ_0 D_0 + φ_1 D_1 + φ_2 D_2, where D_0 + D_1 u + D_2 u² passes through `x_0` at `lambda_t` and the previous
/// evaluations. `h` is the length of the step in λ, and `integral_h` the one in the weights of the integral.
fn integrate(
    x_0: &Tensor,
    lambda_t: f64,
    previous: &VecDeque<(Tensor, f64)>,
    h: f64,
    integral_h: f64,
) -> Result<Tensor, DiffusionError> {
    let [phi_0, phi_1, phi_2] = monomial_weights(integral_h);
    let constant = (x_0 * phi_0)?;
    let Some((m_1, lambda_1)) = previous.front() else { return Ok(constant) };
    let r_0 = (lambda_t - lambda_1) / h;
    let slope_0 = ((x_0 - m_1)? / r_0)?;
    // The second order uses the midpoint rule instead of φ_1, as in the paper.
    let Some((m_2, lambda_2)) = previous.get(1) else { return Ok((constant + (slope_0 * (0.5 * phi_0))?)?) };
    let r_1 = (lambda_1 - lambda_2) / h;
    let slope_1 = ((m_1 - m_2)? / r_1)?;
    // Newton's interpolation through u = 0, −r_0 and −r_0 − r_1.
    let d_2 = ((&slope_0 - slope_1)? / (r_0 + r_1))?;
    let d_1 = (slope_0 + (&d_2 * r_0)?)?;
    Ok(((constant + (d_1 * phi_1)?)? + (d_2 * phi_2)?)?)
}
