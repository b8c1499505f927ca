//! Noise schedules of denoising diffusion models, in f64, with no dependency.
//!
//! The crate contains the scalar part of a diffusion process: β, ᾱ, the coefficients of the posterior q(x_{t−1} | x_t,
//! x_0), both fixed variances of the reverse process, the signal-to-noise ratio, and respaced schedules for sampling
//! with fewer timesteps. It contains no tensors, networks or random numbers.
//!
//! # Convention
//! The papers count t from 1 to T. Here **index `i` is the paper's t = i + 1**, as in the code that accompanies the
//! papers: index 0 is the first step that adds noise, and index T − 1 is the last. ᾱ before the first step is 1.
//!
//! # Reading order
//! [`BetaSchedule`] defines a sequence β. [`Schedule`] validates it and holds all coefficients. [`Prediction`] is what
//! a network predicts. [`VarianceKind`] and [`Spacing`] are options of sampling. [`ScheduleConfig`] is a schedule as
//! plain data for a configuration file.
//!
//! # Examples
//! ```
//! use ddpm_schedule::{BetaSchedule, Schedule, ScheduleError, Spacing};
//!
//! # fn main() -> Result<(), ScheduleError> {
//! let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000)?;
//! assert!(schedule.alpha_bar(999) < 1e-4);
//!
//! // Ten of the thousand timesteps. The network still receives the index in the original schedule.
//! let short = schedule.respaced(10, Spacing::Trailing)?;
//! assert_eq!(short.timesteps(), [99, 199, 299, 399, 499, 599, 699, 799, 899, 999]);
//! assert_eq!(short.alpha_bar(9), schedule.alpha_bar(999));
//!
//! // An invalid parameter is an error that contains the value.
//! let error = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 1.5 }, 1000).unwrap_err();
//! assert_eq!(error.to_string(), "beta_end is 1.5, expected a number in (0, 1)");
//! # Ok(())
//! # }
//! ```

mod beta_schedule;
mod cosine;
mod error;
mod linear;
mod max_timesteps;
mod prediction;
mod quadratic;
mod respacing;
mod schedule;
mod schedule_config;
mod sigmoid;
mod spacing;
mod unknown_name;
mod variance_kind;
mod zero_terminal_snr;

pub use beta_schedule::BetaSchedule;
pub use error::ScheduleError;
pub use max_timesteps::MAX_TIMESTEPS;
pub use prediction::{Factors, Prediction};
pub use schedule::Schedule;
pub use schedule_config::{BetaScheduleName, ScheduleConfig};
pub use spacing::Spacing;
pub use unknown_name::UnknownName;
pub use variance_kind::VarianceKind;

/// The example of the README, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
