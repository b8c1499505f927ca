//! Invalid values are errors whose messages contain the value and the expected range.

use ddpm_schedule::{BetaSchedule, BetaScheduleName, Schedule, ScheduleConfig, ScheduleError, Spacing};

#[track_caller]
fn check(result: Result<Schedule, ScheduleError>, expected: &str) {
    let message = result.expect_err(expected).to_string();
    assert_eq!(message, expected);
}

fn with_ends(start: f64, end: f64) -> [BetaSchedule; 4] {
    [
        BetaSchedule::Linear { start, end },
        BetaSchedule::ScaledLinear { start, end },
        BetaSchedule::Quadratic { start, end },
        BetaSchedule::Sigmoid { start, end },
    ]
}

#[test]
fn ends() {
    for (value, text) in [
        (0.0, "0"),
        (-1e-4, "-0.0001"),
        (1.0, "1"),
        (2.0, "2"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
    ] {
        for rule in with_ends(value, 0.02) {
            check(Schedule::new(&rule, 10), &format!("beta_start is {text}, expected a number in (0, 1)"));
        }
        for rule in with_ends(1e-4, value) {
            check(Schedule::new(&rule, 10), &format!("beta_end is {text}, expected a number in (0, 1)"));
        }
        let max_beta = BetaSchedule::Cosine { offset: 0.008, max_beta: value };
        check(Schedule::new(&max_beta, 10), &format!("max_beta is {text}, expected a number in (0, 1)"));
        check(Schedule::from_betas(&[value, 0.1]), &format!("beta[0] is {text}, expected a number in (0, 1)"));
        // The last β may be 1, which is zero terminal SNR.
        if value != 1.0 {
            check(Schedule::from_betas(&[0.1, value]), &format!("beta[1] is {text}, expected a number in (0, 1)"));
            let given = BetaSchedule::Given { betas: vec![value] };
            check(Schedule::new(&given, 1), &format!("beta[0] is {text}, expected a number in (0, 1)"));
        }
    }
}

#[test]
fn start_above_end() {
    for rule in with_ends(0.02, 1e-4) {
        let expected = "beta_start is 0.02 and beta_end is 0.0001, expected beta_start <= beta_end";
        check(Schedule::new(&rule, 10), expected);
    }
}

#[test]
fn cosine_offset() {
    for (offset, text) in [(-0.1, "-0.1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let rule = BetaSchedule::Cosine { offset, max_beta: 0.999 };
        check(Schedule::new(&rule, 10), &format!("cosine_offset is {text}, expected a finite number, at least 0"));
    }
    // The offset is so large that cos² is constant, so β is 0.
    let rule = BetaSchedule::Cosine { offset: 1e300, max_beta: 0.999 };
    check(Schedule::new(&rule, 10), "beta[0] is 0, expected a number in (0, 1)");
}

#[test]
fn timesteps() {
    let mut rules = with_ends(1e-4, 0.02).to_vec();
    rules.push(BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 });
    rules.push(BetaSchedule::Given { betas: vec![0.1] });
    for rule in rules {
        check(Schedule::new(&rule, 0), "timesteps is 0, expected at least 1");
        let expected = "timesteps is 1000000000000, expected at most 1000000";
        check(Schedule::new(&rule, 1_000_000_000_000), expected);
        assert!(Schedule::new(&rule, usize::MAX).is_err());
        assert!(rule.rescaled_to(0).is_err());
    }
    check(Schedule::from_betas(&[]), "timesteps is 0, expected at least 1");
    assert!(ScheduleConfig::new(BetaScheduleName::Linear, 1_000_000_000_000).build().is_err());
}

#[test]
fn rescaling_too_few_steps() {
    let config = |timesteps| ScheduleConfig {
        rescale_timesteps: true,
        ..ScheduleConfig::new(BetaScheduleName::Linear, timesteps)
    };
    let expected = "beta_end = 0.02 rescaled by 1000/20 is 1, expected below 1: use more than 20 timesteps";
    check(config(20).build(), expected);
    check(config(1).build(), "beta_end = 0.02 rescaled by 1000/1 is 20, expected below 1: use more than 20 timesteps");
    assert!(config(21).build().is_ok());
    // An invalid value is reported itself, not as a consequence of rescaling.
    let nan = ScheduleConfig { beta_end: Some(f64::NAN), ..config(500) };
    check(nan.build(), "beta_end is NaN, expected a number in (0, 1)");
}

#[test]
fn steps_of_a_respaced_schedule() {
    let schedule = Schedule::from_betas(&[0.1; 8]).unwrap();
    for spacing in Spacing::ALL.iter().copied() {
        check(schedule.respaced(0, spacing), "steps is 0, expected 1 to 8, the number of timesteps");
        check(schedule.respaced(9, spacing), "steps is 9, expected 1 to 8, the number of timesteps");
        assert!(schedule.respaced(usize::MAX, spacing).is_err());
    }
}
