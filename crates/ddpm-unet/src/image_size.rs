//! The size of an image.

use serde::{Deserialize, Serialize};

use crate::error::UnetError;

/// Height and width of an image in pixels.
///
/// With serde: one number for a square, or `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Serialized", into = "Serialized")]
pub struct ImageSize {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl ImageSize {
    /// A square with sides of `side` pixels.
    pub fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl std::fmt::Display for ImageSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.height, self.width)
    }
}

impl std::str::FromStr for ImageSize {
    type Err = UnetError;

    /// Parses the side of a square, `64`, or height and width, `64x96`.
    fn from_str(text: &str) -> Result<Self, UnetError> {
        let invalid = || UnetError::config("image_size", "a number of pixels or HEIGHTxWIDTH", text);
        let side = |text: &str| text.parse::<u32>().ok().filter(|side| *side > 0).map(|side| side as usize);
        let size = match text.split_once('x') {
            None => side(text).map(Self::square),
            Some((height, width)) => side(height).zip(side(width)).map(|(height, width)| Self { height, width }),
        };
        size.ok_or_else(invalid)
    }
}

/// The two serialized forms of an image size.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of pixels or [height, width]")]
enum Serialized {
    Square(usize),
    HeightAndWidth([usize; 2]),
}

impl From<Serialized> for ImageSize {
    fn from(serialized: Serialized) -> Self {
        match serialized {
            Serialized::Square(side) => Self::square(side),
            Serialized::HeightAndWidth([height, width]) => Self { height, width },
        }
    }
}

impl From<ImageSize> for Serialized {
    fn from(size: ImageSize) -> Self {
        let ImageSize { height, width } = size;
        if height == width { Self::Square(height) } else { Self::HeightAndWidth([height, width]) }
    }
}
