//! What can be chosen about sampling.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use ddpm_schedule::{Prediction, Schedule, Spacing, UnknownName, VarianceKind};
use serde::{Deserialize, Serialize};

use crate::{DiffusionError, GaussianDiffusion};

/// How x_{t−1} comes from x_t and the prediction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Ancestral sampling (Ho et al. 2020, algorithm 2): noise in every step.
    #[default]
    Ddpm,
    /// Song et al. 2021: as much of that noise as `eta` says; none at 0, where x_0 is a function of x_T.
    Ddim,
    /// DPM-Solver++ with several steps (Lu et al. 2022), of order `order`: no noise, for the fewest steps.
    DpmSolver,
    /// Its stochastic form, SDE-DPM-Solver++ (the same, appendix): noise in every step.
    DpmSolverSde,
    /// Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1): no noise, and two evaluations of the network
    /// a step but for the last.
    Heun,
}

impl Method {
    /// All sampling methods, in documentation order.
    pub const ALL: &[Self] = &[Self::Ddpm, Self::Ddim, Self::DpmSolver, Self::DpmSolverSde, Self::Heun];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Ddim => "ddim",
            Self::DpmSolver => "dpm-solver",
            Self::DpmSolverSde => "dpm-solver-sde",
            Self::Heun => "heun",
        }
    }
}

impl Display for Method {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "ddpm" => Ok(Self::Ddpm),
            "ddim" => Ok(Self::Ddim),
            "dpm-solver" => Ok(Self::DpmSolver),
            "dpm-solver-sde" => Ok(Self::DpmSolverSde),
            "heun" => Ok(Self::Heun),
            _ => Err(UnknownName::new("sampling method", name, Self::ALL)),
        }
    }
}

impl Method {
    /// Whether it is one of the multistep solvers, which have an order.
    pub fn is_dpm_solver(self) -> bool {
        matches!(self, Self::DpmSolver | Self::DpmSolverSde)
    }
}

/// How predicted x_0 is clipped in each sampling step.
///
/// With serde: `"none"`, `"fixed"`, `"dynamic"`; the names of earlier versions (`"epsilon"`, `"clipped-x0"`,
/// `"thresholded-x0"`) are read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clipping {
    /// Predicted x_0 is not clipped (Ho et al. 2020, algorithm 2; the article's procedure).
    #[serde(alias = "epsilon")]
    None,
    /// Predicted x_0 is clipped to ±`clip_range` (the article's tip 3).
    #[serde(alias = "clipped-x0")]
    Fixed,
    /// Dynamic thresholding (Saharia et al. 2022): predicted x_0 is clipped to ±s and divided by s, where s is a quantile
    /// of |x_0| of each image, at least 1.
    #[serde(alias = "thresholded-x0")]
    Dynamic,
}

impl Clipping {
    /// All kinds of clipping, in documentation order.
    pub const ALL: &[Self] = &[Self::None, Self::Fixed, Self::Dynamic];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fixed => "fixed",
            Self::Dynamic => "dynamic",
        }
    }
}

impl Display for Clipping {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Clipping {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "none" | "epsilon" => Ok(Self::None),
            "fixed" | "clipped-x0" => Ok(Self::Fixed),
            "dynamic" | "thresholded-x0" => Ok(Self::Dynamic),
            _ => Err(UnknownName::new("clipping", name, Self::ALL)),
        }
    }
}

/// Which ε̂ goes with an x̂_0 that was clipped, where a method wants both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EpsAfterClip {
    /// The one that leads from the clipped x̂_0 to x_t, as Nichol & Dhariwal have it.
    ///
    /// DIFFERENCE: diffusers' DDIM keeps the predicted one unless `use_clipped_model_output` is set; then x̂_0 and ε̂ no longer
    /// say the same of x_t.
    #[default]
    Rederived,
    /// The predicted one, for what diffusers' DDIM does by default.
    Predicted,
}

impl EpsAfterClip {
    /// Both choices, in documentation order.
    pub const ALL: &[Self] = &[Self::Rederived, Self::Predicted];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rederived => "rederived",
            Self::Predicted => "predicted",
        }
    }
}

impl Display for EpsAfterClip {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for EpsAfterClip {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "rederived" => Ok(Self::Rederived),
            "predicted" => Ok(Self::Predicted),
            _ => Err(UnknownName::new("choice of epsilon after clipping", name, Self::ALL)),
        }
    }
}

/// The variance σ_t² of p(x_{t−1} | x_t).
///
/// With serde: `"fixed-large"`, `"fixed-small"`, `"learned"`, `"learned-range"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReverseVariance {
    /// σ² = β ([`VarianceKind::FixedLarge`]).
    #[serde(alias = "fixed_large")]
    FixedLarge,
    /// σ² = β̃ ([`VarianceKind::FixedSmall`]).
    #[serde(alias = "fixed_small")]
    FixedSmall,
    /// ln σ² is the second half of the network's output channels.
    ///
    /// DIFFERENCE: diffusers takes the output for σ² itself, whose square root is not a number where it is negative. It is the
    /// logarithm, as in the code of Nichol & Dhariwal 2021.
    Learned,
    /// ln σ² = u ln β + (1 − u) ln β̃ (Nichol & Dhariwal 2021, eq. 15), with u from the second half of the output channels, −1
    /// for β̃ and 1 for β.
    #[serde(alias = "learned_range")]
    LearnedRange,
}

impl ReverseVariance {
    /// All variances, in documentation order.
    pub const ALL: &[Self] = &[Self::FixedLarge, Self::FixedSmall, Self::Learned, Self::LearnedRange];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedLarge => "fixed-large",
            Self::FixedSmall => "fixed-small",
            Self::Learned => "learned",
            Self::LearnedRange => "learned-range",
        }
    }
}

impl Display for ReverseVariance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ReverseVariance {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "fixed-large" | "fixed_large" => Ok(Self::FixedLarge),
            "fixed-small" | "fixed_small" => Ok(Self::FixedSmall),
            "learned" => Ok(Self::Learned),
            "learned-range" | "learned_range" => Ok(Self::LearnedRange),
            _ => Err(UnknownName::new("variance", name, Self::ALL)),
        }
    }
}

impl From<VarianceKind> for ReverseVariance {
    fn from(kind: VarianceKind) -> Self {
        match kind {
            VarianceKind::FixedLarge => Self::FixedLarge,
            VarianceKind::FixedSmall => Self::FixedSmall,
        }
    }
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
    /// Of the DPM-Solvers: 1 to 3. 2 if left out.
    #[serde(default = "published::order")]
    pub order: usize,
    /// How predicted x_0 is clipped. Also read from the key `mean`, its name in earlier versions.
    #[serde(alias = "mean")]
    pub clip: Clipping,
    /// Of [`Clipping::Fixed`]: the bound of |x̂_0|, above 0. 1 if left out.
    #[serde(default = "published::one")]
    pub clip_range: f64,
    /// Of [`Clipping::Dynamic`]: which quantile of |x̂_0| the bound is, in [0, 1]. 0.995 if left out.
    #[serde(default = "published::quantile")]
    pub threshold_quantile: f64,
    /// Of [`Clipping::Dynamic`]: the largest bound, finite and at least 1. 1 if left out, which makes it a plain clip.
    #[serde(default = "published::one")]
    pub threshold_max: f64,
    /// Of [`Method::Ddim`] and [`Method::Heun`]: the ε̂ of a clipped x̂_0. Rederived if left out.
    #[serde(default)]
    pub eps_after_clip: EpsAfterClip,
    /// Of [`Method::Ddpm`]: σ².
    pub variance: ReverseVariance,
    /// Steps, 1 to those of the schedule.
    pub steps: usize,
    /// Which steps are taken where they are fewer than the schedule's.
    pub spacing: Spacing,
}

/// What a field is where it is left out.
mod published {
    pub(super) fn order() -> usize {
        2
    }
    pub(super) fn one() -> f64 {
        1.0
    }
    pub(super) fn quantile() -> f64 {
        0.995
    }
}

impl SamplerConfig {
    /// What has to be chosen, with the published value of what may be left out.
    pub fn new(
        method: Method,
        clip: Clipping,
        variance: impl Into<ReverseVariance>,
        steps: usize,
        spacing: Spacing,
    ) -> Self {
        Self {
            method,
            eta: 0.0,
            order: published::order(),
            clip,
            clip_range: published::one(),
            threshold_quantile: published::quantile(),
            threshold_max: published::one(),
            eps_after_clip: EpsAfterClip::default(),
            variance: variance.into(),
            steps,
            spacing,
        }
    }

    /// The process over the steps that are taken.
    ///
    /// # Errors
    /// When a field is out of its range, the steps are more than the schedule's, or the first of them has no signal to find x_0
    /// from ([`DiffusionError::NoSignal`]).
    pub fn respaced(&self, diffusion: &GaussianDiffusion) -> Result<GaussianDiffusion, DiffusionError> {
        self.check_ranges()?;
        let schedule = self.kept(diffusion.schedule())?;
        let (last, prediction) = (schedule.len() - 1, diffusion.prediction());
        // Heun's method begins with x_T / √ᾱ_T.
        let divides = prediction == Prediction::Epsilon || self.method == Method::Heun;
        if divides && !(schedule.sqrt_alpha_bar(last).recip() as f32).is_finite() {
            let (timestep, alpha_bar) = (schedule.timestep(last), schedule.alpha_bar(last));
            let heun = self.method == Method::Heun;
            return Err(DiffusionError::NoSignal { timestep, alpha_bar, heun });
        }
        Ok(GaussianDiffusion::new(schedule).predicting(prediction))
    }

    /// The steps that are taken. The DPM-Solvers step from the first one of a spacing to x_0 without asking the network there: they
    /// space one step more and leave the first out, as the authors' code does.
    fn kept(&self, schedule: &Schedule) -> Result<Schedule, DiffusionError> {
        let one_more = self.method.is_dpm_solver() && self.spacing != Spacing::Trailing && self.steps < schedule.len();
        if !one_more {
            return Ok(schedule.respaced(self.steps, self.spacing)?);
        }
        let spaced = schedule.respaced(self.steps + 1, self.spacing)?;
        Ok(spaced.selected(&(1..=self.steps).collect::<Vec<_>>())?)
    }

    fn check_ranges(&self) -> Result<(), DiffusionError> {
        let Self { eta, order, clip_range, threshold_quantile, threshold_max, .. } = *self;
        let positive = clip_range > 0.0 && clip_range.is_finite();
        for (field, expected, found, holds) in [
            ("eta", "a share in [0, 1]", eta, (0.0..=1.0).contains(&eta)),
            ("order", "1, 2 or 3", order as f64, (1..=3).contains(&order)),
            ("clip_range", "a finite number above 0", clip_range, positive),
            ("threshold_quantile", "a share in [0, 1]", threshold_quantile, (0.0..=1.0).contains(&threshold_quantile)),
            (
                "threshold_max",
                "a finite number from 1",
                threshold_max,
                threshold_max >= 1.0 && threshold_max.is_finite(),
            ),
        ] {
            if !holds {
                return Err(DiffusionError::Option { field, expected, found });
            }
        }
        Ok(())
    }
}
