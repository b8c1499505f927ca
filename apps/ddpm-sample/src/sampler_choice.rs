//! The values of `--sampler`.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use ddpm_diffusion::Method;

/// A sampling method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SamplerChoice {
    pub(crate) method: Method,
    /// Whether the value was `ddpm-clipped`, which earlier versions had: `ddpm` with `--clip fixed`.
    pub(crate) clipped: bool,
}

/// The name of earlier versions for `--sampler ddpm --clip fixed`. `--help` does not list it.
const CLIPPED: &str = "ddpm-clipped";

impl SamplerChoice {
    /// Parses the value, and lists the methods in `--help`.
    pub(crate) fn parser() -> impl TypedValueParser<Value = Self> {
        let listed = Method::ALL.iter().map(|method| PossibleValue::new(method.name()).help(help(*method)));
        let all: Vec<PossibleValue> = listed.chain([PossibleValue::new(CLIPPED).hide(true)]).collect();
        PossibleValuesParser::new(all).try_map(|found| match found.as_str() {
            CLIPPED => Ok(Self { method: Method::Ddpm, clipped: true }),
            name => name.parse().map(|method| Self { method, clipped: false }),
        })
    }
}

/// The description in `--help`.
fn help(method: Method) -> &'static str {
    match method {
        Method::Ddpm => "Ancestral sampling (Ho et al. 2020)",
        Method::Ddim => "Deterministic unless --eta is above 0, needs 20 to 100 steps (Song et al. 2021)",
        Method::DpmSolver => "DPM-Solver++: deterministic, needs 10 to 30 steps (Lu et al. 2022b)",
        Method::DpmSolverSde => "SDE-DPM-Solver++: adds noise in every step",
        Method::Heun => "Heun's method: deterministic, evaluates the network twice in a step (Karras et al. 2022)",
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn every_method_is_a_choice_and_the_old_name_is_hidden() {
        let command =
            || Command::new("program").arg(Arg::new("sampler").long("sampler").value_parser(SamplerChoice::parser()));
        let parse = |name: &str| {
            let matches = command().try_get_matches_from(["program", "--sampler", name]).expect("a method");
            *matches.get_one::<SamplerChoice>("sampler").expect("a value")
        };
        for method in Method::ALL {
            assert_eq!(parse(method.name()), SamplerChoice { method: *method, clipped: false });
            assert!(!help(*method).is_empty());
        }
        assert_eq!(parse(CLIPPED), SamplerChoice { method: Method::Ddpm, clipped: true });
        assert!(!command().render_long_help().to_string().contains(CLIPPED));
    }
}
