//! Published values. The tolerance is one unit of the last given digit for values that were computed in double
//! precision.
//!
//! diffusers computes in single precision. Its values are compared with the tolerance of that precision, and the same
//! values computed with 50 decimal digits are compared to the last digit.

use ddpm_schedule::{BetaSchedule, Schedule, VarianceKind};

const ENDS: (f64, f64) = (1e-4, 0.02);

#[track_caller]
fn check(actual: f64, expected: f64, digits: i32) {
    let unit = 10f64.powf(expected.abs().log10().floor() - f64::from(digits - 1));
    assert!((actual - expected).abs() <= unit, "{actual:e} is not {expected:e} to {digits} digits");
}

/// Compares with a value of single precision. β̃ of diffusers uses β = 1 − ᾱ_t/ᾱ_{t−1}, which has a rounding error of
/// 2⁻²⁴ in a number of about 0.01, a relative error of 6e-6. A product of a thousand factors has a random rounding
/// error of √1000·2⁻²⁴ = 2e-6.
#[track_caller]
fn check_single(actual: f64, expected: f64) {
    assert!((actual / expected - 1.0).abs() < 6e-6, "{actual:e} is not {expected:e} in single precision");
}

fn linear() -> Schedule {
    Schedule::new(&BetaSchedule::Linear { start: ENDS.0, end: ENDS.1 }, 1000).expect("a valid schedule")
}

#[test]
fn linear_of_ho_et_al() {
    let schedule = linear();
    check(schedule.alpha_bar(999), 4.0358297654e-5, 11);
    check(schedule.alpha_bar(499), 7.8587242882e-2, 11);
    check(schedule.posterior_variance(1), 5.4531876613e-5, 11);
    check(schedule.posterior_log_variance_clipped(0), -9.8167251, 8);
}

#[test]
fn linear_fixed_small_of_diffusers() {
    let schedule = linear();
    check_single(schedule.variance(VarianceKind::FixedSmall, 487), 9.791540913e-3);
    check_single(schedule.variance(VarianceKind::FixedSmall, 999), 1.999996417e-2);
    check(schedule.variance(VarianceKind::FixedSmall, 487), 9.7915719856900e-3, 13);
    check(schedule.variance(VarianceKind::FixedSmall, 999), 1.9999983526561e-2, 13);
    assert_eq!(schedule.variance(VarianceKind::FixedSmall, 0), 0.0);
    assert_eq!(schedule.floored_posterior_variance(0), 1e-20);
    assert_eq!(schedule.floored_posterior_variance(487), schedule.posterior_variance(487));
}

#[test]
fn linear_prior_term() {
    // KL(N(√ᾱ x, 1 − ᾱ) ‖ N(0, 1)) at E[x²] = 0.25, in bits.
    let alpha_bar = linear().alpha_bar(999);
    let nats = 0.5 * (alpha_bar * (0.25 - 1.0) - (-alpha_bar).ln_1p());
    check(nats / 2f64.ln(), 7.279e-6, 4);
}

#[test]
fn linear_without_rescaling_is_not_noise_at_200_steps() {
    let rule = BetaSchedule::Linear { start: ENDS.0, end: ENDS.1 };
    check(Schedule::new(&rule, 200).unwrap().alpha_bar(199), 0.132, 3);
    let rescaled = Schedule::new(&rule.rescaled_to(200).unwrap(), 200).unwrap();
    assert!(rescaled.alpha_bar(199) < 4.1e-5);
}

#[test]
fn cosine_of_nichol_and_dhariwal() {
    let schedule = Schedule::new(&BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 }, 1000).unwrap();
    check(schedule.alpha_bar(999), 2.428767e-9, 7);
    check(schedule.beta(0), 4.12842248e-5, 9);
    check(schedule.beta(500), 3.15569144e-3, 9);
    assert_eq!(schedule.betas().iter().filter(|beta| **beta >= 0.999).count(), 1);
}

#[test]
fn scaled_linear_of_diffusers_and_its_other_name() {
    let schedule = Schedule::new(&BetaSchedule::ScaledLinear { start: ENDS.0, end: ENDS.1 }, 1000).unwrap();
    check_single(schedule.beta(500), 5.7420726e-3);
    check_single(schedule.alpha_bar(999), 7.334119e-4);
    check(schedule.beta(500), 5.7420710676885e-3, 13);
    check(schedule.alpha_bar(999), 7.334124595808e-4, 13);
    let quadratic = Schedule::new(&BetaSchedule::Quadratic { start: ENDS.0, end: ENDS.1 }, 1000).unwrap();
    assert_eq!(schedule, quadratic);
}

#[test]
fn sigmoid_of_diffusers() {
    let schedule = Schedule::new(&BetaSchedule::Sigmoid { start: ENDS.0, end: ENDS.1 }, 1000).unwrap();
    check(schedule.beta(0), 1.4920520e-4, 8);
    check_single(schedule.beta(500), 1.00798784e-2);
    check(schedule.beta(500), 1.00798797900611e-2, 13);
    check_single(schedule.alpha_bar(999), 3.9681821e-5);
    check(schedule.alpha_bar(999), 3.96818199053321e-5, 12);
}

#[test]
fn zero_terminal_snr_of_lin_by_hand() {
    // √ᾱ of β = [0.36, 0.4375] is [0.8, 0.6]; moved to [0.8, 0] it leaves β = [0.36, 1].
    let zero = Schedule::from_betas(&[0.36, 0.4375]).unwrap().with_zero_terminal_snr().unwrap();
    assert_eq!(zero.betas(), [0.36, 1.0]);
    // Three steps: √ᾱ = [0.9, 0.6, 0.3] becomes ([0.6, 0.3, 0])·1.5 = [0.9, 0.45, 0].
    let betas = [1.0 - 0.81, 1.0 - 0.36 / 0.81, 1.0 - 0.09 / 0.36];
    let zero = Schedule::from_betas(&betas).unwrap().with_zero_terminal_snr().unwrap();
    check(zero.sqrt_alpha_bar(1), 0.45, 14);
    assert_eq!(zero.alpha_bar(2), 0.0);
}
