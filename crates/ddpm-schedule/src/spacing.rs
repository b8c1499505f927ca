//! The timesteps of a respaced schedule.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::UnknownName;

/// How the timesteps of a respaced schedule are chosen from the original ones (Lin et al. 2024, table 2).
///
/// With serde: `"leading"`, `"trailing"`, `"linspace"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Spacing {
    /// Every ⌊T/S⌋-th index, starting with 0. The last indices are omitted: 10 of 1000 are 0, 100, … 900.
    Leading,
    /// Every T/S-th index, counted back from the last and rounded. The first indices are omitted: 10 of 1000 are 99,
    /// 199, … 999.
    Trailing,
    /// Evenly spaced from the first index to the last, rounded: 10 of 1000 are 0, 111, … 999.
    ///
    /// DIFFERENCE: a single step is at the last index, whereas `linspace` of numpy gives the first. A single step has
    /// to start from x_T.
    Linspace,
}

impl Spacing {
    /// All spacings, in documentation order.
    pub const ALL: &[Self] = &[Self::Leading, Self::Trailing, Self::Linspace];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leading => "leading",
            Self::Trailing => "trailing",
            Self::Linspace => "linspace",
        }
    }
}

impl Display for Spacing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Spacing {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "leading" => Ok(Self::Leading),
            "trailing" => Ok(Self::Trailing),
            "linspace" => Ok(Self::Linspace),
            _ => Err(UnknownName::new("spacing", name, Self::ALL)),
        }
    }
}

impl Spacing {
    /// The selected indices in increasing order. The caller has checked that `steps` is in 1..=`timesteps`. Then the
    /// indices are distinct, because they are at least 1 apart before rounding.
    pub(crate) fn indices(self, timesteps: usize, steps: usize) -> Vec<usize> {
        let (total, count) = (timesteps as f64, steps as f64);
        // Ties are rounded to even, as in numpy, which the reference implementations use.
        match self {
            Self::Leading => (0..steps).map(|i| i * (timesteps / steps)).collect(),
            Self::Trailing => {
                let index = |back: usize| (total - back as f64 * (total / count)).round_ties_even() as usize - 1;
                (0..steps).rev().map(index).collect()
            }
            Self::Linspace if steps == 1 => vec![timesteps - 1],
            Self::Linspace => {
                let index = |i: usize| (i as f64 * ((total - 1.0) / (count - 1.0))).round_ties_even() as usize;
                (0..steps).map(index).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_of_a_thousand() {
        assert_eq!(Spacing::Leading.indices(1000, 10), [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert_eq!(Spacing::Trailing.indices(1000, 10), [99, 199, 299, 399, 499, 599, 699, 799, 899, 999]);
        assert_eq!(Spacing::Linspace.indices(1000, 10), [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]);
    }

    #[test]
    fn numbers_that_do_not_divide() {
        assert_eq!(Spacing::Leading.indices(10, 3), [0, 3, 6]);
        assert_eq!(Spacing::Trailing.indices(10, 3), [2, 6, 9]);
        assert_eq!(Spacing::Linspace.indices(10, 3), [0, 4, 9]);
        // 1000/16 is 62.5; ties are rounded to even.
        assert_eq!(Spacing::Trailing.indices(1000, 16)[12..], [811, 874, 937, 999]);
    }

    #[test]
    fn one_step_and_every_step() {
        assert_eq!(Spacing::Leading.indices(10, 1), [0]);
        assert_eq!(Spacing::Trailing.indices(10, 1), [9]);
        assert_eq!(Spacing::Linspace.indices(10, 1), [9]);
        for spacing in Spacing::ALL {
            assert_eq!(spacing.indices(7, 7), [0, 1, 2, 3, 4, 5, 6]);
        }
    }
}
