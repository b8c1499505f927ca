//! A schedule as plain data with flat fields, for configuration files.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::{BetaSchedule, Schedule, ScheduleError, UnknownName};

/// The name of a [`BetaSchedule`], without its parameters.
///
/// With serde: `"linear"`, `"scaled-linear"`, `"quadratic"`, `"cosine"`, `"sigmoid"`, `"given"`. `"scaled_linear"` is
/// also read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum BetaScheduleName {
    /// [`BetaSchedule::Linear`]; reads `beta_start` and `beta_end`.
    Linear,
    /// [`BetaSchedule::ScaledLinear`]; reads `beta_start` and `beta_end`.
    #[cfg_attr(feature = "serde", serde(alias = "scaled_linear"))]
    ScaledLinear,
    /// [`BetaSchedule::Quadratic`]; reads `beta_start` and `beta_end`.
    Quadratic,
    /// [`BetaSchedule::Cosine`]; reads `cosine_offset` and `max_beta`.
    Cosine,
    /// [`BetaSchedule::Sigmoid`]; reads `beta_start` and `beta_end`.
    Sigmoid,
    /// [`BetaSchedule::Given`]; reads `betas`.
    Given,
}

impl BetaScheduleName {
    /// All names, in documentation order.
    pub const ALL: &[Self] =
        &[Self::Linear, Self::ScaledLinear, Self::Quadratic, Self::Cosine, Self::Sigmoid, Self::Given];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::ScaledLinear => "scaled-linear",
            Self::Quadratic => "quadratic",
            Self::Cosine => "cosine",
            Self::Sigmoid => "sigmoid",
            Self::Given => "given",
        }
    }
}

impl Display for BetaScheduleName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for BetaScheduleName {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "linear" => Ok(Self::Linear),
            "scaled-linear" | "scaled_linear" => Ok(Self::ScaledLinear),
            "quadratic" => Ok(Self::Quadratic),
            "cosine" => Ok(Self::Cosine),
            "sigmoid" => Ok(Self::Sigmoid),
            "given" => Ok(Self::Given),
            _ => Err(UnknownName::new("beta schedule", name, Self::ALL)),
        }
    }
}

/// Parses a name, such as `cosine`, as the rule with its published parameters: the defaults of [`ScheduleConfig`].
///
/// # Examples
/// ```
/// use ddpm_schedule::BetaSchedule;
///
/// assert_eq!("cosine".parse::<BetaSchedule>()?, BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 });
/// assert_eq!("linear".parse::<BetaSchedule>()?, BetaSchedule::default());
/// // This rule has no published parameters.
/// assert!("given".parse::<BetaSchedule>().is_err());
/// # Ok::<(), ddpm_schedule::UnknownName>(())
/// ```
impl FromStr for BetaSchedule {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let rule = ScheduleConfig::new(name.parse()?, 1).rule();
        let named: Vec<_> =
            BetaScheduleName::ALL.iter().copied().filter(|name| *name != BetaScheduleName::Given).collect();
        rule.map_err(|_| UnknownName::new("beta schedule with published parameters", name, &named))
    }
}

/// A schedule in a configuration file. An absent parameter has the published value that the documentation of its field
/// states; [`resolved`](Self::resolved) fills it in.
///
/// A parameter that the chosen rule does not read has no effect, so `beta_schedule` can be changed without changing
/// other keys. [`unused_fields`](Self::unused_fields) returns the names of these parameters.
///
/// # Examples
/// With feature `serde`, in TOML:
/// ```toml
/// timesteps = 1000
/// beta_schedule = "linear"
/// beta_start = 1e-4
/// beta_end = 0.02
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct ScheduleConfig {
    /// T, from 1 to [`MAX_TIMESTEPS`](crate::MAX_TIMESTEPS).
    pub timesteps: usize,
    /// The rule for β.
    pub beta_schedule: BetaScheduleName,
    /// β_1. Default: 1e-4 (Ho et al. 2020).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub beta_start: Option<f64>,
    /// β_T. Default: 0.02 (Ho et al. 2020).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub beta_end: Option<f64>,
    /// s of the cosine rule. Default: 0.008 (Nichol & Dhariwal 2021).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub cosine_offset: Option<f64>,
    /// The largest β of the cosine rule. Default: 0.999 (Nichol & Dhariwal 2021).
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub max_beta: Option<f64>,
    /// All β, one per timestep, for `beta_schedule = "given"`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub betas: Option<Vec<f64>>,
    /// Whether β is multiplied by 1000/T, see [`BetaSchedule::rescaled_to`]. Default: `false` (Ho et al. 2020).
    #[cfg_attr(feature = "serde", serde(default))]
    pub rescale_timesteps: bool,
    /// Whether β is rescaled such that ᾱ_T = 0, see [`Schedule::with_zero_terminal_snr`]. Default: `false` (Ho et al.
    /// 2020).
    #[cfg_attr(feature = "serde", serde(default))]
    pub zero_terminal_snr: bool,
}

impl ScheduleConfig {
    /// A configuration of `timesteps` steps with the given rule. All other fields have their defaults.
    pub fn new(beta_schedule: BetaScheduleName, timesteps: usize) -> Self {
        Self {
            timesteps,
            beta_schedule,
            beta_start: None,
            beta_end: None,
            cosine_offset: None,
            max_beta: None,
            betas: None,
            rescale_timesteps: false,
            zero_terminal_snr: false,
        }
    }

    /// Builds the schedule.
    ///
    /// # Errors
    /// The errors of [`rule`](Self::rule), [`Schedule::new`], [`BetaSchedule::rescaled_to`] and
    /// [`Schedule::with_zero_terminal_snr`], as far as the configuration uses them.
    ///
    /// # Examples
    /// ```
    /// use ddpm_schedule::{BetaScheduleName, ScheduleConfig};
    ///
    /// let config = ScheduleConfig { rescale_timesteps: true, ..ScheduleConfig::new(BetaScheduleName::Linear, 200) };
    /// assert!(config.build().unwrap().alpha_bar(199) < 1e-4);
    /// assert!(ScheduleConfig { timesteps: 20, ..config }.build().is_err());
    /// ```
    pub fn build(&self) -> Result<Schedule, ScheduleError> {
        let rule = self.rule()?;
        let rule = if self.rescale_timesteps { rule.rescaled_to(self.timesteps)? } else { rule };
        let schedule = Schedule::new(&rule, self.timesteps)?;
        if self.zero_terminal_snr { schedule.with_zero_terminal_snr() } else { Ok(schedule) }
    }

    /// The rule for β with its parameters, before any rescaling.
    ///
    /// # Errors
    /// [`ScheduleError::BetasMissing`] if the rule is `given` and `betas` is absent.
    pub fn rule(&self) -> Result<BetaSchedule, ScheduleError> {
        let (start, end) = (self.beta_start.unwrap_or(1e-4), self.beta_end.unwrap_or(0.02));
        Ok(match self.beta_schedule {
            BetaScheduleName::Linear => BetaSchedule::Linear { start, end },
            BetaScheduleName::ScaledLinear => BetaSchedule::ScaledLinear { start, end },
            BetaScheduleName::Quadratic => BetaSchedule::Quadratic { start, end },
            BetaScheduleName::Sigmoid => BetaSchedule::Sigmoid { start, end },
            BetaScheduleName::Cosine => BetaSchedule::Cosine {
                offset: self.cosine_offset.unwrap_or(0.008),
                max_beta: self.max_beta.unwrap_or(0.999),
            },
            BetaScheduleName::Given => {
                BetaSchedule::Given { betas: self.betas.clone().ok_or(ScheduleError::BetasMissing)? }
            }
        })
    }

    /// The same configuration, in which all parameters that the rule reads are set and all others are absent.
    ///
    /// # Errors
    /// The errors of [`rule`](Self::rule).
    pub fn resolved(&self) -> Result<Self, ScheduleError> {
        let bare = Self {
            rescale_timesteps: self.rescale_timesteps,
            zero_terminal_snr: self.zero_terminal_snr,
            ..Self::new(self.beta_schedule, self.timesteps)
        };
        Ok(match self.rule()? {
            BetaSchedule::Linear { start, end }
            | BetaSchedule::ScaledLinear { start, end }
            | BetaSchedule::Quadratic { start, end }
            | BetaSchedule::Sigmoid { start, end } => Self { beta_start: Some(start), beta_end: Some(end), ..bare },
            BetaSchedule::Cosine { offset, max_beta } => {
                Self { cosine_offset: Some(offset), max_beta: Some(max_beta), ..bare }
            }
            BetaSchedule::Given { betas } => Self { betas: Some(betas), ..bare },
        })
    }

    /// The names of the parameters that are set but not read by the chosen rule.
    pub fn unused_fields(&self) -> Vec<&'static str> {
        use BetaScheduleName::{Cosine, Given};
        let ends = !matches!(self.beta_schedule, Cosine | Given);
        let cosine = self.beta_schedule == Cosine;
        [
            ("beta_start", self.beta_start.is_some(), ends),
            ("beta_end", self.beta_end.is_some(), ends),
            ("cosine_offset", self.cosine_offset.is_some(), cosine),
            ("max_beta", self.max_beta.is_some(), cosine),
            ("betas", self.betas.is_some(), self.beta_schedule == Given),
            ("rescale_timesteps", self.rescale_timesteps, !cosine),
        ]
        .into_iter()
        .filter_map(|(name, is_set, is_read)| (is_set && !is_read).then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_parameters_have_published_values() {
        let resolved = ScheduleConfig::new(BetaScheduleName::Linear, 10).resolved().unwrap();
        assert_eq!((resolved.beta_start, resolved.beta_end), (Some(1e-4), Some(0.02)));
        let resolved = ScheduleConfig::new(BetaScheduleName::Cosine, 10).resolved().unwrap();
        assert_eq!((resolved.cosine_offset, resolved.max_beta, resolved.beta_end), (Some(0.008), Some(0.999), None));
    }

    #[test]
    fn the_rule_can_be_changed_alone() {
        let linear = ScheduleConfig::new(BetaScheduleName::Linear, 10).resolved().unwrap();
        let cosine = ScheduleConfig { beta_schedule: BetaScheduleName::Cosine, ..linear.clone() };
        assert_eq!(linear.unused_fields(), [""; 0]);
        assert_eq!(cosine.unused_fields(), ["beta_start", "beta_end"]);
        assert_eq!(cosine.build(), ScheduleConfig::new(BetaScheduleName::Cosine, 10).build());
    }

    #[test]
    fn given_betas_must_be_present_and_one_per_timestep() {
        let config = ScheduleConfig::new(BetaScheduleName::Given, 2);
        assert_eq!(config.build(), Err(ScheduleError::BetasMissing));
        let config = ScheduleConfig { betas: Some(vec![0.1, 0.2]), ..config };
        assert_eq!(config.build().unwrap().betas(), [0.1, 0.2]);
        let long = ScheduleConfig { timesteps: 3, ..config.clone() };
        assert_eq!(long.build(), Err(ScheduleError::BetasLength { timesteps: 3, found: 2 }));
        let rescaled = ScheduleConfig { rescale_timesteps: true, ..config };
        assert_eq!(rescaled.build(), Err(ScheduleError::GivenBetasRescaled));
    }
}
