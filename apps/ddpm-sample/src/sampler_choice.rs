//! The values of `--sampler`.

use ddpm_diffusion::{Clipping, Method};

/// A sampling method, and for ancestral sampling whether predicted x_0 is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SamplerChoice {
    pub(crate) method: Method,
    /// How predicted x_0 is clipped. With `None`, the model decides.
    pub(crate) clip: Option<Clipping>,
}

impl SamplerChoice {
    /// All choices: every method under its own name, and `ddpm-clipped`.
    pub(crate) fn all() -> Vec<Self> {
        let choices = |method: &Method| match method {
            Method::Ddpm => vec![Some(Clipping::None), Some(Clipping::Fixed)],
            _ => vec![None],
        };
        let all = Method::ALL.iter().flat_map(|method| choices(method).into_iter().map(|clip| (*method, clip)));
        all.map(|(method, clip)| Self { method, clip }).collect()
    }

    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self { method: Method::Ddpm, clip: Some(Clipping::Fixed) } => "ddpm-clipped",
            Self { method, .. } => method.name(),
        }
    }

    /// The description in `--help`.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self { method: Method::Ddpm, clip: Some(Clipping::Fixed) } => {
                "Ancestral sampling with predicted x_0 clipped in every step"
            }
            Self { method: Method::Ddpm, .. } => "Ancestral sampling without clipping (Ho et al. 2020)",
            Self { method: Method::Ddim, .. } => {
                "Deterministic unless --eta is above 0, needs 20 to 100 steps (Song et al. 2021)"
            }
            Self { method: Method::DpmSolver, .. } => {
                "DPM-Solver++: deterministic, needs 10 to 30 steps (Lu et al. 2022b)"
            }
            Self { method: Method::DpmSolverSde, .. } => "SDE-DPM-Solver++: adds noise in every step",
            Self { method: Method::Heun, .. } => {
                "Heun's method: deterministic, evaluates the network twice in a step (Karras et al. 2022)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SamplerChoice;

    #[test]
    fn every_choice_has_a_name_of_its_own_and_a_description() {
        let all = SamplerChoice::all();
        let names: Vec<_> = all.iter().map(|choice| choice.name()).collect();
        assert_eq!(names, ["ddpm", "ddpm-clipped", "ddim", "dpm-solver", "dpm-solver-sde", "heun"]);
        assert!(all.iter().all(|choice| !choice.help().is_empty()));
    }
}
