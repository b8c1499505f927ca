//! The interpolation with which images are resized.

use std::fmt;
use std::str::FromStr;

use image::imageops::FilterType;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// The interpolation with which images are resized. The support of every filter but [`ResizeFilter::Nearest`] grows
/// with the factor by which an image is reduced, so that it does not alias (`antialias=True` in torchvision).
///
/// # Examples
/// ```
/// use ddpm_data::ResizeFilter;
///
/// assert_eq!("lanczos".parse::<ResizeFilter>()?, ResizeFilter::Lanczos);
/// assert_eq!(ResizeFilter::default().to_string(), "bicubic");
/// # Ok::<(), ddpm_data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ResizeFilter {
    /// `bicubic`: cubic convolution with a = −0.5 (Catmull-Rom; Keys 1981, eq. 15).
    #[default]
    Bicubic,
    /// `bilinear`: a triangle.
    Bilinear,
    /// `lanczos`: a windowed sinc with three lobes.
    Lanczos,
    /// `nearest`: the nearest pixel, for pixel art. It aliases.
    Nearest,
}

impl ResizeFilter {
    /// Every variant, in the order of the documentation.
    pub const ALL: &[Self] = &[Self::Bicubic, Self::Bilinear, Self::Lanczos, Self::Nearest];

    pub(crate) fn filter_type(self) -> FilterType {
        match self {
            Self::Bicubic => FilterType::CatmullRom,
            Self::Bilinear => FilterType::Triangle,
            Self::Lanczos => FilterType::Lanczos3,
            Self::Nearest => FilterType::Nearest,
        }
    }
}

impl fmt::Display for ResizeFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bicubic => "bicubic",
            Self::Bilinear => "bilinear",
            Self::Lanczos => "lanczos",
            Self::Nearest => "nearest",
        })
    }
}

impl FromStr for ResizeFilter {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL.iter().copied().find(|filter| filter.to_string() == text).ok_or_else(|| DataError::Config {
            field: "filter",
            expected: "bicubic, bilinear, lanczos or nearest".into(),
            found: text.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_serde() {
        for filter in ResizeFilter::ALL {
            assert_eq!(serde_json::to_value(filter).expect("a string"), filter.to_string());
            assert_eq!(filter.to_string().parse::<ResizeFilter>().expect("a name"), *filter);
        }
    }
}
