//! Noise schedules of denoising diffusion models, in f64, with no dependency.
//!
//! Owns everything about a diffusion process that is a number rather than a tensor: β, ᾱ, the coefficients of the
//! posterior q(x_{t−1} | x_t, x_0), both fixed variances of the reverse process, the signal-to-noise ratio, and what
//! happens to them when only a subset of the steps is walked. It leaves out tensors, networks and random numbers.
//!
//! # Convention
//! Papers count t from 1 to T. Here **index `i` is the paper's t = i + 1**, as in the code that accompanies the
//! papers: index 0 is the first step that adds noise, index T − 1 the last. "ᾱ before the first step" is 1.
//!
//! # Reading order
//! [`BetaSchedule`] names a sequence β; [`Schedule`] validates it and holds every coefficient; [`Prediction`] says
//! what a network's output stands for; [`VarianceKind`] and [`Spacing`] are the choices made when sampling;
//! [`ScheduleConfig`] is the same as plain data for a configuration file.
//!
//! # Examples
//! ```
//! use ddpm_schedule::{BetaSchedule, Schedule, ScheduleError, Spacing};
//!
//! # fn main() -> Result<(), ScheduleError> {
//! let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000)?;
//! assert!(schedule.alpha_bar(999) < 1e-4);
//!
//! // Ten of the thousand steps; the network is still told the index in the original schedule.
//! let short = schedule.respaced(10, Spacing::Trailing)?;
//! assert_eq!(short.timesteps(), [99, 199, 299, 399, 499, 599, 699, 799, 899, 999]);
//! assert_eq!(short.alpha_bar(9), schedule.alpha_bar(999));
//!
//! // What makes no sense is an error that names the value.
//! let error = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 1.5 }, 1000).unwrap_err();
//! assert_eq!(error.to_string(), "beta_end is 1.5, expected a number in (0, 1)");
//! # Ok(())
//! # }
//! ```

mod beta_schedule;
mod cosine;
mod error;
mod linear;
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
pub use prediction::{Factors, Prediction};
pub use schedule::{MAX_TIMESTEPS, Schedule};
pub use schedule_config::{BetaScheduleName, ScheduleConfig};
pub use spacing::Spacing;
pub use unknown_name::UnknownName;
pub use variance_kind::VarianceKind;

/// The README's example, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
