//! Options whose value is one of a fixed set of names.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A value parser for an option that takes the name of one of `values`.
///
/// `name` gives the name of a value and `help` describes it in a few words. `--help` lists both; error messages and
/// shell completions list the names.
pub fn named_values<T: Copy + Send + Sync + 'static>(
    values: &[T],
    name: fn(T) -> &'static str,
    help: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> + use<T> {
    let values = values.to_vec();
    let possible: Vec<_> = values.iter().map(|value| PossibleValue::new(name(*value)).help(help(*value))).collect();
    PossibleValuesParser::new(possible).try_map(move |found| {
        let value = values.iter().copied().find(|value| name(*value) == found);
        value.ok_or("expected one of the possible values")
    })
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fit {
        Crop,
        Pad,
    }

    impl Fit {
        fn name(self) -> &'static str {
            match self {
                Self::Crop => "crop",
                Self::Pad => "pad",
            }
        }

        fn help(self) -> &'static str {
            match self {
                Self::Crop => "Cut off the sides",
                Self::Pad => "Add borders",
            }
        }
    }

    fn command() -> Command {
        let parser = named_values(&[Fit::Crop, Fit::Pad], Fit::name, Fit::help);
        Command::new("program").arg(Arg::new("fit").long("fit").value_parser(parser))
    }

    #[test]
    fn names_are_parsed() {
        let matches = command().try_get_matches_from(["program", "--fit", "pad"]).unwrap();
        assert_eq!(matches.get_one("fit"), Some(&Fit::Pad));
    }

    #[test]
    fn errors_and_help_list_the_values() {
        let error = command().try_get_matches_from(["program", "--fit", "shrink"]).unwrap_err().to_string();
        assert!(error.contains("invalid value 'shrink'") && error.contains("[possible values: crop, pad]"), "{error}");
        let help = command().render_long_help().to_string();
        assert!(help.contains("- crop: Cut off the sides") && help.contains("- pad:  Add borders"), "{help}");
    }
}
