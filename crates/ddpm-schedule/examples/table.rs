//! Prints √ᾱ and the log-SNR of each schedule at every tenth timestep of a hundred, and the timesteps of each spacing.
//!
//! `cargo run -p ddpm-schedule --example table`

#![expect(clippy::print_stdout, reason = "printing is the purpose of the example")]

use ddpm_schedule::{BetaSchedule, Schedule, ScheduleError, Spacing};

fn main() -> Result<(), ScheduleError> {
    let (start, end) = (1e-4, 0.02);
    let rules = [
        ("linear", BetaSchedule::Linear { start, end }),
        ("scaled-linear", BetaSchedule::ScaledLinear { start, end }),
        ("cosine", BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 }),
        ("sigmoid", BetaSchedule::Sigmoid { start, end }),
    ];
    let schedules =
        rules.iter().map(|(_, rule)| Schedule::new(rule, 1000)).collect::<Result<Vec<_>, ScheduleError>>()?;

    println!("sqrt(alpha_bar), the coefficient of x_0 in x_t, and ln SNR");
    print!("{:>5}", "t");
    rules.iter().for_each(|(name, _)| print!("{name:>22}"));
    println!();
    for i in [0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999] {
        print!("{:>5}", i + 1);
        schedules.iter().for_each(|s| print!("{:>13.6}{:>9.3}", s.sqrt_alpha_bar(i), s.log_snr(i)));
        println!();
    }

    println!("\n10 timesteps of 1000 in sampling order");
    for spacing in Spacing::ALL {
        let respaced = schedules[0].respaced(10, *spacing)?;
        let timesteps: Vec<String> = respaced.timesteps().iter().rev().map(usize::to_string).collect();
        println!("{:>10}  {}", spacing, timesteps.join(" "));
    }
    Ok(())
}
