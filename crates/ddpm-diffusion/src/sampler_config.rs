//! What can be chosen about sampling.

use ddpm_schedule::{Spacing, VarianceKind};
use serde::{Deserialize, Serialize};

/// How x_{t−1} comes from x_t and the prediction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// Ancestral sampling (Ho et al. 2020, algorithm 2): noise in every step.
    #[default]
    Ddpm,
    /// Song et al. 2021: as much of that noise as `eta` says; none at 0, where x_0 is a function of x_T.
    Ddim,
    /// DPM-Solver++(2M) (Lu et al. 2022): no noise, and of second order, for the fewest steps.
    DpmSolver,
}

/// How the mean of a reverse step comes from the predicted noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MeanForm {
    /// μ_θ straight from ε̂ (Ho et al. 2020, algorithm 2; the article's procedure).
    Epsilon,
    /// From x̂_0 clipped to [−1, 1] (the article's tip 3). Where ε̂ is wanted as well, it is the one that leads to that x̂_0, as
    /// Nichol & Dhariwal have it. DIFFERENCE: diffusers' DDIM keeps the ε̂ of the unclipped one unless told otherwise.
    ClippedX0,
}

/// How images are sampled. Plain data; [`crate::sample`] checks it against the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerConfig {
    /// How x_{t−1} comes from x_t. Ancestral if left out.
    #[serde(default)]
    pub method: Method,
    /// Of [`Method::Ddim`]: the share of the deviation √β̃ of the noise, in [0, 1]. 0 if left out.
    #[serde(default)]
    pub eta: f64,
    /// How the mean comes from ε̂.
    pub mean: MeanForm,
    /// Of [`Method::Ddpm`]: σ² = β or β̃ (the article's tip 1).
    pub variance: VarianceKind,
    /// Steps, 1 to those of the schedule.
    pub steps: usize,
    /// Which steps are taken where they are fewer than the schedule's.
    pub spacing: Spacing,
}
