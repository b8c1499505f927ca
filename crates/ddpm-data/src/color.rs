//! An opaque color, as configurations name it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// An opaque sRGB color: red, green and blue, 8 bits each. Its text is `#rrggbb`; `white`, `black` and `gray` are read
/// too.
///
/// # Examples
/// ```
/// use ddpm_data::Color;
///
/// assert_eq!("#ff8000".parse::<Color>()?, Color([255, 128, 0]));
/// assert_eq!("white".parse::<Color>()?.to_string(), "#ffffff");
/// # Ok::<(), ddpm_data::DataError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Color(pub [u8; 3]);

impl Color {
    /// White.
    pub const WHITE: Self = Self([255; 3]);
    /// Black.
    pub const BLACK: Self = Self([0; 3]);
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl FromStr for Color {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        match text {
            "white" => return Ok(Self::WHITE),
            "black" => return Ok(Self::BLACK),
            "gray" => return Ok(Self([128; 3])),
            _ => {}
        }
        let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()).ok_or_else(|| DataError::Config {
            field: "background",
            expected: "#rrggbb, white, black or gray".into(),
            found: text.into(),
        })?;
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl TryFrom<String> for Color {
    type Error = DataError;

    fn try_from(text: String) -> Result<Self, DataError> {
        text.parse()
    }
}

impl From<Color> for String {
    fn from(color: Color) -> Self {
        color.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_colors_are_read() {
        for text in ["", "#", "#fff", "ffffff", "#ffffff0", "#gggggg", "#+fffff", "red", "#éé"] {
            assert!(text.parse::<Color>().is_err(), "{text}");
        }
        assert_eq!("#0a0B0c".parse::<Color>().unwrap().to_string(), "#0a0b0c");
    }
}
