//! The sampling methods.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use ddpm_schedule::UnknownName;
use serde::{Deserialize, Serialize};

/// The method that computes x_{t−1} from x_t and the output of the network.
///
/// With serde: `"ddpm"`, `"ddim"`, `"dpm-solver"`, `"dpm-solver-sde"`, `"heun"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Ancestral sampling (Ho et al. 2020, algorithm 2). Adds noise in every step but the last.
    #[default]
    Ddpm,
    /// DDIM (Song et al. 2021). The field `eta` sets the amount of noise: with 0, x_0 is a function of x_T; with 1, the
    /// method equals ancestral sampling.
    Ddim,
    /// Multistep DPM-Solver++ of the configured `order` (Lu et al. 2022b). Adds no noise and needs the fewest steps.
    DpmSolver,
    /// SDE-DPM-Solver++, the stochastic form of DPM-Solver++ (Lu et al. 2022b). Adds noise in every step but the last.
    DpmSolverSde,
    /// Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1). Adds no noise, and evaluates the
    /// network twice in every step but the last.
    Heun,
}

impl Method {
    /// All methods, in documentation order.
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

    /// Whether the method is one of the two multistep solvers, which read the field `order`.
    pub fn is_dpm_solver(self) -> bool {
        matches!(self, Self::DpmSolver | Self::DpmSolverSde)
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
