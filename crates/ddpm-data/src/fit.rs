//! How an image is adapted to another size.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// How an image of another size is adapted to the size of the network.
///
/// # Examples
/// ```
/// use ddpm_data::Fit;
///
/// assert_eq!("pad".parse::<Fit>()?, Fit::Pad);
/// assert_eq!(Fit::Stretch.to_string(), "stretch");
/// assert!("contain".parse::<Fit>().is_err());
/// # Ok::<(), ddpm_data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// `crop`: scales the image, keeping its aspect ratio, until it covers the size, and crops what exceeds it.
    #[default]
    Crop,
    /// `stretch`: scales width and height independently. The aspect ratio may change.
    Stretch,
    /// `pad`: scales the image down, keeping its aspect ratio, if it is larger than the size, and centers it on a black
    /// background (a transparent one if the network has an alpha channel), or on the configured color.
    Pad,
}

impl Fit {
    /// Every variant, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::Crop, Self::Stretch, Self::Pad];
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crop => "crop",
            Self::Stretch => "stretch",
            Self::Pad => "pad",
        })
    }
}

impl FromStr for Fit {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL.iter().copied().find(|fit| fit.to_string() == text).ok_or_else(|| DataError::Config {
            field: "fit",
            expected: "crop, stretch or pad".into(),
            found: text.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        for fit in Fit::ALL {
            assert_eq!(serde_json::to_value(fit).expect("a string"), fit.to_string());
            assert_eq!(fit.to_string().parse::<Fit>().expect("a name"), *fit);
        }
    }
}
