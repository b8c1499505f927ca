//! The values of `--clip`.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use ddpm_diffusion::{Clipping, SamplerConfig};

/// How predicted x_0 is clipped: `none`, `fixed[:RANGE]` or `dynamic[:QUANTILE]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClipChoice {
    clip: Clipping,
    /// The range or the quantile. `None` leaves the model's.
    pub(crate) number: Option<f64>,
}

/// A value that is not a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidClipChoice(String);

impl Display for InvalidClipChoice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "expected none, fixed, fixed:RANGE, dynamic or dynamic:QUANTILE, found {}", self.0)
    }
}

impl std::error::Error for InvalidClipChoice {}

impl FromStr for ClipChoice {
    type Err = InvalidClipChoice;

    fn from_str(text: &str) -> Result<Self, InvalidClipChoice> {
        let invalid = || InvalidClipChoice(text.to_owned());
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let clip = match name {
            "none" if number.is_none() => Clipping::None,
            "fixed" => Clipping::Fixed,
            "dynamic" => Clipping::Dynamic,
            _ => return Err(invalid()),
        };
        Ok(Self { clip, number })
    }
}

impl ClipChoice {
    /// Clipping to the model's range, ±1 unless its file says otherwise.
    pub(crate) const FIXED: Self = Self { clip: Clipping::Fixed, number: None };

    /// `sampler` with this clipping.
    pub(crate) fn apply(self, sampler: SamplerConfig) -> SamplerConfig {
        let sampler = SamplerConfig { clip: self.clip, ..sampler };
        match (self.clip, self.number) {
            (Clipping::Fixed, Some(clip_range)) => SamplerConfig { clip_range, ..sampler },
            (Clipping::Dynamic, Some(threshold_quantile)) => SamplerConfig { threshold_quantile, ..sampler },
            _ => sampler,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(Clipping, Option<f64>), InvalidClipChoice> {
        text.parse().map(|ClipChoice { clip, number }| (clip, number))
    }

    #[test]
    fn kinds_and_numbers_are_read() {
        assert_eq!(parse("none"), Ok((Clipping::None, None)));
        assert_eq!(parse("fixed"), Ok((Clipping::Fixed, None)));
        assert_eq!(parse("fixed:1.5"), Ok((Clipping::Fixed, Some(1.5))));
        assert_eq!(parse("dynamic:0.99"), Ok((Clipping::Dynamic, Some(0.99))));
        for wrong in ["", "none:1", "fixed:", "fixed:x", "fixed:1:2", "Dynamic", "0.99"] {
            assert_eq!(parse(wrong), Err(InvalidClipChoice(wrong.to_owned())));
        }
    }
}
