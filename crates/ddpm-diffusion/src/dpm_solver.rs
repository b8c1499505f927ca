//! DPM-Solver++ with several steps, and its stochastic form (Lu et al. 2022b, algorithm 2 and appendix).

use std::collections::VecDeque;

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::sampler_context::{SamplerContext, drawn};
use crate::{DiffusionError, Method};

/// What a step needs of those before it: x̂_0 and λ of each, the last first.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    last: VecDeque<(Tensor, f64)>,
}

/// Steps below which the last ones are of lower order, as in the authors' code.
const FEW_STEPS: usize = 15;

/// With λ = ln(√ᾱ / √(1 − ᾱ)) and h its growth over this step, x̂_0 is a polynomial of u = (λ − λ_t) / h through the last estimates,
/// D_0 + D_1 u + D_2 u², and the step is the exact integral of the ODE over it:
/// x_{t−1} = σ_{t−1} / σ_t x + √ᾱ_{t−1} (φ_1 D_0 + φ_2 D_1 + φ_3 D_2). Of the SDE it is the same with 2h for h, x times e^{−h} more, and
/// σ_{t−1} √(1 − e^{−2h}) z added.
///
/// The step to x_0, to λ = ∞, is x̂_0 itself.
///
/// DIFFERENCE: the authors' code and diffusers give D_2 half of the weight φ_3 that the integral has, which makes their third order
/// converge as a second one, and diffusers has another sign in that weight for the SDE. And with ᾱ_T = 0 diffusers sets it to 2^−24;
/// here λ is −∞ there, and the step after it has no D_1.
pub(crate) fn step(
    context: &SamplerContext<'_>,
    x: &Tensor,
    i: usize,
    noise: &mut ImageNoise,
    memory: &mut Memory,
) -> Result<Tensor, DiffusionError> {
    let schedule = context.schedule();
    let x_0 = context.predict(x, i)?.estimate.x_0;
    if i == 0 {
        return Ok(x_0);
    }
    let lambda = |i: usize| 0.5 * schedule.log_snr(i);
    let (at, h) = (lambda(i), lambda(i - 1) - lambda(i));
    // As many estimates as the order says, this one among them, and fewer at the end of a short walk. From no signal at all λ grew
    // without bound, and an estimate there says nothing of the slope.
    let left = if schedule.len() < FEW_STEPS { i + 1 } else { usize::MAX };
    let usable = memory.last.iter().take_while(|(_, lambda)| lambda.is_finite()).count();
    memory.last.truncate((context.config.order.min(left) - 1).min(usable));

    let stochastic = context.config.method == Method::DpmSolverSde;
    // A finite number stands for the infinite: e^{−h} is 0 either way.
    let g = if stochastic { 2.0 * h } else { h }.min(f64::MAX);
    let direction = integral(&x_0, at, &memory.last, h, g)?;
    memory.last.push_front((x_0, at));
    let sigma = schedule.sqrt_one_minus_alpha_bar(i - 1);
    let kept = sigma / schedule.sqrt_one_minus_alpha_bar(i) * if stochastic { (-h).exp() } else { 1.0 };
    let mean = ((x * kept)? + (direction * schedule.sqrt_alpha_bar(i - 1))?)?;
    if !stochastic {
        return Ok(mean);
    }
    Ok((mean + (drawn(noise, x)? * (sigma * (-(-g).exp_m1()).sqrt()))?)?)
}

/// ∫ e^{−g (1 − u)} g u^k du over [0, 1] for k = 0, 1, 2: the weights of 1, u and u².
fn weights(g: f64) -> [f64; 3] {
    let phi_1 = -(-g).exp_m1();
    // By parts; for a small g they are differences of nearly equal numbers, and the first terms of their series are exact instead.
    if g < 1e-3 {
        return [phi_1, g / 2.0 - g * g / 6.0, g / 3.0 - g * g / 12.0];
    }
    let phi_2 = 1.0 - phi_1 / g;
    [phi_1, phi_2, 1.0 - 2.0 * phi_2 / g]
}

/// φ_1 D_0 + φ_2 D_1 + φ_3 D_2: the polynomial through x̂_0 at λ = `at` and those before it, with the weights of `g`.
fn integral(x_0: &Tensor, at: f64, before: &VecDeque<(Tensor, f64)>, h: f64, g: f64) -> Result<Tensor, DiffusionError> {
    let [phi_1, phi_2, phi_3] = weights(g);
    let constant = (x_0 * phi_1)?;
    let Some((m_1, lambda_1)) = before.front() else { return Ok(constant) };
    let r_0 = (at - lambda_1) / h;
    let slope_0 = ((x_0 - m_1)? / r_0)?;
    // Of order 2 the midpoint rule stands for the integral, as in the paper.
    let Some((m_2, lambda_2)) = before.get(1) else { return Ok((constant + (slope_0 * (0.5 * phi_1))?)?) };
    let r_1 = (lambda_1 - lambda_2) / h;
    let slope_1 = ((m_1 - m_2)? / r_1)?;
    // Newton's form, through u = 0, −r_0, −r_0 − r_1.
    let d_2 = ((&slope_0 - slope_1)? / (r_0 + r_1))?;
    let d_1 = (slope_0 + (&d_2 * r_0)?)?;
    Ok(((constant + (d_1 * phi_2)?)? + (d_2 * phi_3)?)?)
}
