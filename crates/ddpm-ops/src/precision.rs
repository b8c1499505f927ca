//! The number format that a forward pass computes in.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use candle_core::DType;
use serde::{Deserialize, Serialize};

/// The number format that a forward pass computes in. Parameters, their gradients, statistics and sums are f32 in every
/// case.
///
/// The serde names are `"f32"`, `"tf32"`, `"bf16"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32 with its full 24-bit significand. On the CPU this selects the fused kernels of this crate.
    #[default]
    F32,
    /// f32, with the factors of matrix products and convolutions rounded to the 11-bit significand of TF32 on a GPU
    /// that has it; f32 elsewhere.
    Tf32,
    /// bf16, with an 8-bit significand, and products summed in f32.
    Bf16,
}

impl Precision {
    /// All precisions, in documentation order.
    pub const ALL: &[Self] = &[Self::F32, Self::Tf32, Self::Bf16];

    /// The name in configuration files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

impl Display for Precision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        match name {
            "f32" => Ok(Self::F32),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(UnknownPrecision { found: name.to_string() }),
        }
    }
}

/// A string is not the name of a [`Precision`]. The message lists the names that are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPrecision {
    /// The string that was found.
    pub found: String,
}

impl Display for UnknownPrecision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let expected: Vec<String> = Precision::ALL.iter().map(|precision| format!("{:?}", precision.name())).collect();
        write!(f, "unknown precision {:?}, expected one of {}", self.found, expected.join(", "))
    }
}

impl std::error::Error for UnknownPrecision {}

impl Precision {
    /// The type that images are computed in, given the type of the inputs.
    pub(crate) fn dtype(self, given: DType) -> DType {
        match self {
            Self::F32 | Self::Tf32 if given == DType::F64 => DType::F64,
            Self::F32 | Self::Tf32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    #[test]
    fn display_and_from_str_use_the_names_of_serde() {
        for precision in Precision::ALL {
            let name: StrDeserializer<'_, Error> = precision.name().into_deserializer();
            assert_eq!(Precision::deserialize(name), Ok(*precision));
            assert_eq!(precision.to_string().parse(), Ok(*precision));
        }
        let error = "f16".parse::<Precision>().unwrap_err().to_string();
        assert_eq!(error, r#"unknown precision "f16", expected one of "f32", "tf32", "bf16""#);
    }
}
