//! The options of a scheduler that are names in diffusers and enums in this workspace.
//!
//! Reader and writer use the same functions. Every `match` is exhaustive, so that a new variant of an enum does not
//! compile before it has a name here.

use ddpm_diffusion::ReverseVariance;
use ddpm_schedule::{BetaScheduleName, Prediction, Spacing};

/// `prediction_type`: what the network predicts.
pub(crate) fn prediction_type(prediction: Prediction) -> &'static str {
    match prediction {
        Prediction::Epsilon => "epsilon",
        Prediction::X0 => "sample",
        Prediction::V => "v_prediction",
    }
}

/// `timestep_spacing`: which timesteps are kept in a respaced schedule.
pub(crate) fn timestep_spacing(spacing: Spacing) -> &'static str {
    match spacing {
        Spacing::Leading => "leading",
        Spacing::Trailing => "trailing",
        Spacing::Linspace => "linspace",
    }
}

/// `variance_type`: the variance of the reverse process.
pub(crate) fn variance_type(variance: ReverseVariance) -> &'static str {
    match variance {
        ReverseVariance::FixedSmall => "fixed_small",
        ReverseVariance::FixedLarge => "fixed_large",
        ReverseVariance::Learned => "learned",
        ReverseVariance::LearnedRange => "learned_range",
    }
}

/// `beta_schedule`: the rule for β. `None` if diffusers has no name for the rule, so that the betas must be listed.
pub(crate) fn beta_schedule(name: BetaScheduleName) -> Option<&'static str> {
    match name {
        BetaScheduleName::Linear => Some("linear"),
        // Two names of the same sequence.
        BetaScheduleName::ScaledLinear | BetaScheduleName::Quadratic => Some("scaled_linear"),
        BetaScheduleName::Cosine => Some("squaredcos_cap_v2"),
        BetaScheduleName::Sigmoid => Some("sigmoid"),
        BetaScheduleName::Given => None,
    }
}
