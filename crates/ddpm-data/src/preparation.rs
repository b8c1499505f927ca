//! How images get the size of the network, as a model file records it.

use serde::{Deserialize, Serialize};

use crate::color::Color;
use crate::config::DataConfig;
use crate::conversion::Conversion;
use crate::fit::Fit;
use crate::resize_filter::ResizeFilter;

/// How images are adapted to the size and the channels of a network: the part of [`DataConfig`] that other programs
/// need to prepare an image as it was prepared in training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// How an image of another size is adapted.
    #[serde(default)]
    pub fit: Fit,
    /// The interpolation with which it is resized.
    #[serde(default)]
    pub filter: ResizeFilter,
    /// The color behind transparent pixels and beside padded images; see [`DataConfig::background`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Color>,
}

impl Preparation {
    /// The preparation of a configuration.
    pub fn of(data: &DataConfig) -> Self {
        Self { fit: data.fit, filter: data.filter, background: data.background }
    }

    /// The conversion to images with `channels` channels and the size \[height, width\].
    pub fn conversion(&self, channels: usize, [height, width]: [usize; 2]) -> Conversion {
        let Self { fit, filter, background } = *self;
        Conversion { channels, height, width, fit, filter, background }
    }
}
