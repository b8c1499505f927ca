//! The size of an image.

use serde::{Deserialize, Serialize};

/// Height and width in pixels. In a configuration: one number for a square, or `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct ImageSize {
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
}

impl ImageSize {
    /// A square of that side.
    pub fn square(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl std::fmt::Display for ImageSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}×{}", self.height, self.width)
    }
}

/// The two ways of writing it.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of pixels or [height, width]")]
enum Written {
    Square(usize),
    Both([usize; 2]),
}

impl From<Written> for ImageSize {
    fn from(written: Written) -> Self {
        match written {
            Written::Square(side) => Self::square(side),
            Written::Both([height, width]) => Self { height, width },
        }
    }
}

impl From<ImageSize> for Written {
    fn from(size: ImageSize) -> Self {
        if size.height == size.width { Self::Square(size.height) } else { Self::Both([size.height, size.width]) }
    }
}
