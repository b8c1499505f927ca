//! Identities that hold for all schedules.

use ddpm_schedule::{BetaSchedule, Schedule, Spacing, VarianceKind};
use proptest::prelude::*;

/// Valid rules, each with a number of timesteps.
fn rules() -> impl Strategy<Value = (BetaSchedule, usize)> {
    let ends = (1e-6..0.5f64, 1e-6..0.5f64).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let rule = prop_oneof![
        ends.clone().prop_map(|(start, end)| BetaSchedule::Linear { start, end }),
        ends.clone().prop_map(|(start, end)| BetaSchedule::ScaledLinear { start, end }),
        ends.prop_map(|(start, end)| BetaSchedule::Sigmoid { start, end }),
        (1e-3..0.1f64, 0.5..0.9999f64).prop_map(|(offset, max_beta)| BetaSchedule::Cosine { offset, max_beta }),
    ];
    (rule, 1usize..1500)
}

fn spacings() -> impl Strategy<Value = Spacing> {
    prop_oneof![Just(Spacing::Leading), Just(Spacing::Trailing), Just(Spacing::Linspace)]
}

/// Whether `a` equals `b` up to `ulps` rounding errors.
fn close(a: f64, b: f64, ulps: f64) -> bool {
    (a - b).abs() <= ulps * f64::EPSILON * a.abs().max(b.abs())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn alpha_bar_decreases_and_signal_and_noise_add_up_to_one((rule, timesteps) in rules()) {
        let schedule = Schedule::new(&rule, timesteps).unwrap();
        prop_assert_eq!(schedule.len(), timesteps);
        for i in 0..timesteps {
            // ᾱ decreases strictly until it underflows; below 1e-300 it has fewer digits.
            prop_assert!(schedule.alpha_bar(i) < schedule.alpha_bar_prev(i) || schedule.alpha_bar_prev(i) < 1e-300);
            prop_assert!(i == 0 || schedule.alpha_bar_prev(i) == schedule.alpha_bar(i - 1));
            let (signal, noise) = (schedule.sqrt_alpha_bar(i), schedule.sqrt_one_minus_alpha_bar(i));
            // Each step has one or two rounding errors in the product and in the sum.
            prop_assert!(close(signal.powi(2) + noise.powi(2), 1.0, 4.0 * (i + 2) as f64));
            prop_assert!(i == 0 || schedule.snr(i) < schedule.snr(i - 1) || schedule.snr(i - 1) < 1e-300);
        }
        prop_assert_eq!(schedule.alpha_bar_prev(0), 1.0);
    }

    #[test]
    fn every_coefficient_is_finite((rule, timesteps) in rules(), zero_terminal in any::<bool>()) {
        let schedule = Schedule::new(&rule, timesteps).unwrap();
        let zero = if zero_terminal { schedule.with_zero_terminal_snr().ok() } else { None };
        let schedule = zero.unwrap_or(schedule);
        for values in [
            schedule.betas(), schedule.alphas(), schedule.alpha_bars(), schedule.alpha_bars_prev(),
            schedule.one_minus_alpha_bars(), schedule.sqrt_alpha_bars(), schedule.sqrt_one_minus_alpha_bars(),
            schedule.posterior_mean_coefs_x0(), schedule.posterior_mean_coefs_xt(), schedule.posterior_variances(),
            schedule.posterior_log_variances_clipped(),
        ] {
            prop_assert!(values.len() == timesteps && values.iter().all(|v| v.is_finite()));
        }
        for i in 0..timesteps {
            prop_assert!(schedule.snr(i).is_finite());
            prop_assert!(schedule.log_snr(i).is_finite() || schedule.alpha_bar(i) == 0.0);
            for kind in [VarianceKind::FixedLarge, VarianceKind::FixedSmall] {
                prop_assert!(schedule.log_variance_clipped(kind, i).is_finite());
            }
        }
    }

    /// The posterior is consistent with the marginals: the means satisfy √ᾱ_{t−1} = c_0 + c_t·√ᾱ_t, and the variances
    /// 1 − ᾱ_{t−1} = c_t²·(1 − ᾱ_t) + β̃_t. Together they determine q(x_{t−1} | x_t, x_0).
    #[test]
    fn posterior_and_marginals_agree((rule, timesteps) in rules()) {
        let schedule = Schedule::new(&rule, timesteps).unwrap();
        for i in 0..timesteps {
            let (c_0, c_t) = (schedule.posterior_mean_coef_x0(i), schedule.posterior_mean_coef_xt(i));
            let mean = c_0 + c_t * schedule.sqrt_alpha_bar(i);
            // The error of ᾱ grows by one rounding error per step. Below √ᾱ = 1e-150, ᾱ = 1e-300 has fewer digits.
            let expected = schedule.alpha_bar_prev(i).sqrt();
            prop_assert!(expected < 1e-150 || close(mean, expected, 8.0 * (i + 2) as f64), "mean at {i}");
            let variance = c_t.powi(2) * schedule.one_minus_alpha_bar(i) + schedule.posterior_variance(i);
            let expected = if i == 0 { 0.0 } else { schedule.one_minus_alpha_bar(i - 1) };
            prop_assert!(close(variance, expected, 8.0), "variance at {i}: {variance} {expected}");
        }
        prop_assert_eq!(schedule.posterior_mean_coef_x0(0), 1.0);
        prop_assert_eq!(schedule.posterior_mean_coef_xt(0), 0.0);
    }

    #[test]
    fn the_small_variance_is_at_most_the_large_one((rule, timesteps) in rules()) {
        let schedule = Schedule::new(&rule, timesteps).unwrap();
        for i in 0..timesteps {
            let small = schedule.variance(VarianceKind::FixedSmall, i);
            prop_assert!(small <= schedule.variance(VarianceKind::FixedLarge, i));
            let log = schedule.posterior_log_variance_clipped(i);
            // Two logarithms of magnitude up to 15 against one, with rounding errors in their last digits.
            prop_assert!(i == 0 || (log - small.ln()).abs() < 1e-13);
        }
    }

    #[test]
    fn respacing_keeps_the_noise_levels(
        (rule, timesteps) in rules(), share in 0.0..1.0f64, spacing in spacings()
    ) {
        let schedule = Schedule::new(&rule, timesteps).unwrap();
        let steps = 1 + (share * (timesteps - 1) as f64) as usize;
        let respaced = schedule.respaced(steps, spacing).unwrap();
        prop_assert_eq!(respaced.len(), steps);
        prop_assert_eq!(respaced.original_timesteps(), timesteps);
        prop_assert!(respaced.timesteps().windows(2).all(|w| w[0] < w[1]));
        for i in 0..steps {
            prop_assert_eq!(respaced.alpha_bar(i), schedule.alpha_bar(respaced.timestep(i)));
            let product = respaced.alpha_bar_prev(i) * respaced.alpha(i);
            // β' is the step from one selected ᾱ to the next. α' near 0 has the absolute error of β' near 1.
            let error = (product - respaced.alpha_bar(i)).abs();
            prop_assert!(error <= 1e-12 * respaced.alpha_bar_prev(i) + 1e-300, "{i}: {error}");
        }
    }

    #[test]
    fn respacing_to_every_step_changes_nothing((rule, timesteps) in rules(), spacing in spacings()) {
        let schedule = Schedule::new(&rule, timesteps).unwrap();
        prop_assert_eq!(&schedule.respaced(timesteps, spacing).unwrap(), &schedule);
    }

    #[test]
    fn zero_terminal_snr_keeps_the_first_step_and_the_order((rule, timesteps) in rules()) {
        let schedule = Schedule::new(&rule, timesteps).unwrap();
        prop_assume!(timesteps > 1 && schedule.alpha_bar(timesteps - 2) > 1e-6);
        let zero = schedule.with_zero_terminal_snr().unwrap();
        prop_assert_eq!(zero.beta(0), schedule.beta(0));
        prop_assert_eq!(zero.alpha_bar(timesteps - 1), 0.0);
        prop_assert!((0..timesteps).all(|i| zero.alpha_bar(i) <= schedule.alpha_bar(i) * (1.0 + 1e-12)));
    }

    #[test]
    fn no_input_panics(start in any::<f64>(), end in any::<f64>(), timesteps in 0usize..50, zero in any::<bool>()) {
        for rule in [
            BetaSchedule::Linear { start, end },
            BetaSchedule::Quadratic { start, end },
            BetaSchedule::Sigmoid { start, end },
            BetaSchedule::Cosine { offset: start, max_beta: end },
            BetaSchedule::Given { betas: vec![start, end] },
        ] {
            let rescaled = rule.rescaled_to(timesteps).unwrap_or(rule);
            if let Ok(schedule) = Schedule::new(&rescaled, timesteps) {
                prop_assert!(schedule.betas().iter().all(|b| *b > 0.0 && *b < 1.0));
                if zero {
                    let _ = schedule.with_zero_terminal_snr();
                }
            }
        }
    }
}
