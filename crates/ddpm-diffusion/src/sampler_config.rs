//! What can be chosen about sampling.

use ddpm_schedule::{Spacing, VarianceKind};
use serde::{Deserialize, Serialize};

/// How the mean of a reverse step comes from the predicted noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MeanForm {
    /// μ_θ straight from ε̂ (Ho et al. 2020, algorithm 2; the article's procedure).
    Epsilon,
    /// μ̃_t at x̂_0 clipped to [−1, 1] (the article's tip 3).
    ClippedX0,
}

/// How images are sampled. Plain data; [`crate::sample`] checks it against the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// How the mean comes from ε̂.
    pub mean: MeanForm,
    /// σ² = β or β̃ (the article's tip 1).
    pub variance: VarianceKind,
    /// Steps, 1 to those of the schedule.
    pub steps: usize,
    /// Which steps are taken where they are fewer than the schedule's.
    pub spacing: Spacing,
}
