//! Whether the classes of images are read, and how often each class is visited.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// Whether the classes of the images are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labeling {
    /// `auto`: if the set has at least two classes, each image has one. [`open`](crate::open) lists where classes are
    /// looked for.
    #[default]
    Auto,
    /// `none`: images have no class.
    None,
}

impl Labeling {
    /// Every variant, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::Auto, Self::None];
}

impl fmt::Display for Labeling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
        })
    }
}

impl FromStr for Labeling {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let found = Self::ALL.iter().copied().find(|labeling| labeling.to_string() == text);
        found.ok_or_else(|| DataError::Config { field: "labels", expected: "auto or none".into(), found: text.into() })
    }
}

/// How often the images of each class are visited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassBalance {
    /// `none`: every image is visited once in an epoch, so that large classes are visited more often.
    #[default]
    None,
    /// `uniform`: every class is visited equally often. An epoch has as many images as the set; it repeats images of
    /// small classes and leaves out images of large ones, other ones in each epoch.
    Uniform,
}

impl ClassBalance {
    /// Every variant, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::None, Self::Uniform];
}

impl fmt::Display for ClassBalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Uniform => "uniform",
        })
    }
}

impl FromStr for ClassBalance {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        let found = Self::ALL.iter().copied().find(|balance| balance.to_string() == text);
        found.ok_or_else(|| DataError::Config {
            field: "class_balance",
            expected: "none or uniform".into(),
            found: text.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        for labeling in Labeling::ALL {
            assert_eq!(serde_json::to_value(labeling).expect("a string"), labeling.to_string());
            assert_eq!(labeling.to_string().parse::<Labeling>().expect("a name"), *labeling);
        }
        for balance in ClassBalance::ALL {
            assert_eq!(serde_json::to_value(balance).expect("a string"), balance.to_string());
            assert_eq!(balance.to_string().parse::<ClassBalance>().expect("a name"), *balance);
        }
        assert!("all".parse::<Labeling>().is_err() && "all".parse::<ClassBalance>().is_err());
    }
}
