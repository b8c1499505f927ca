//! The names of sets of weights among the tensors of a checkpoint.

/// The prefix of the names of the trained weights in [`Checkpoint::training`](crate::Checkpoint::training).
pub const PARAMETER_PREFIX: &str = "parameter.";

/// What the prefixes of exponential averages begin with.
pub(crate) const EMA: &str = "ema.";

/// The prefix of the names of the weights of a further exponential average of this decay in
/// [`Checkpoint::training`](crate::Checkpoint::training).
pub fn ema_prefix(decay: f64) -> String {
    format!("{EMA}{decay}.")
}

/// The same for a power-function average of this length.
pub fn power_ema_prefix(sigma_rel: f64) -> String {
    format!("power.{sigma_rel}.")
}
