//! Averages of the weights of a network during training, as numbers: the crate knows no tensors.
//!
//! An average follows the weights θ₁, θ₂, … of the training steps: `average ← β · average + (1 − β) · θ`. Its decay β
//! determines how many of the last steps it covers. This crate gives β for two kinds of averages:
//!
//! - [`ema_decay`]: the exponential moving average (EMA), with or without warm-up;
//! - [`PowerFunction`]: the average of Karras et al. 2024b, whose length grows with the training.
//!
//! From stored power-function averages, [`post_hoc_weights`] computes an average of any other length after the
//! training.

mod exponential;
mod post_hoc;
mod power_function;

pub use exponential::{ema_decay, initial_weight_share};
pub use post_hoc::{PostHocError, PostHocWeights, PowerAverage, post_hoc_weights};
pub use power_function::{MAX_SIGMA_REL, PowerFunction};

/// The README's example, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
