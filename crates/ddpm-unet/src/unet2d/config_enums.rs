//! The choices in a configuration of diffusers' `UNet2DModel`, by diffusers' names.

use serde::{Deserialize, Serialize};

use crate::enum_names::enum_names;

/// How a timestep becomes a vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TimeEmbeddingType {
    /// `positional`: by sines and cosines.
    #[default]
    Positional,
}

enum_names!(TimeEmbeddingType, "time embedding type", { Positional => "positional" });

/// The kind of a level of the contracting path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DownBlockType {
    /// `DownBlock2D`: residual blocks, then a convolution at stride 2.
    DownBlock2D,
    /// `AttnDownBlock2D`: the same with attention after each residual block.
    AttnDownBlock2D,
    /// `ResnetDownsampleBlock2D`: residual blocks, then a residual block that downsamples.
    ResnetDownsampleBlock2D,
}

enum_names!(DownBlockType, "down block type", {
    DownBlock2D => "DownBlock2D",
    AttnDownBlock2D => "AttnDownBlock2D",
    ResnetDownsampleBlock2D => "ResnetDownsampleBlock2D",
});

/// The kind of the lowest level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MidBlockType {
    /// `UNetMidBlock2D`: a residual block, attention, a residual block.
    #[default]
    UNetMidBlock2D,
    /// `none`: no middle block.
    #[serde(rename = "none")]
    None,
}

enum_names!(MidBlockType, "middle block type", { UNetMidBlock2D => "UNetMidBlock2D", None => "none" });

/// The kind of a level of the expanding path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum UpBlockType {
    /// `UpBlock2D`: residual blocks with skip connections, then upsampling and a convolution.
    UpBlock2D,
    /// `AttnUpBlock2D`: the same with attention after each residual block.
    AttnUpBlock2D,
    /// `ResnetUpsampleBlock2D`: residual blocks with skip connections, then a residual block that upsamples.
    ResnetUpsampleBlock2D,
}

enum_names!(UpBlockType, "up block type", {
    UpBlock2D => "UpBlock2D",
    AttnUpBlock2D => "AttnUpBlock2D",
    ResnetUpsampleBlock2D => "ResnetUpsampleBlock2D",
});

/// How a level with attention changes height and width.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResampleType {
    /// `conv`: by a convolution.
    #[default]
    Conv,
    /// `resnet`: by a residual block.
    Resnet,
}

enum_names!(ResampleType, "resample type", { Conv => "conv", Resnet => "resnet" });

/// How the time embedding acts on the features of a residual block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeScaleShift {
    /// `default`: it is added before the second normalization.
    #[default]
    Default,
    /// `scale_shift`: it scales and shifts the features after the second normalization (Nichol & Dhariwal 2021).
    ScaleShift,
}

enum_names!(TimeScaleShift, "time scale shift", { Default => "default", ScaleShift => "scale_shift" });

/// How a class label is embedded, if not by a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClassEmbedType {
    /// `timestep`: as a timestep is.
    Timestep,
    /// `identity`: the labels are embeddings already.
    Identity,
}

enum_names!(ClassEmbedType, "class embedding type", { Timestep => "timestep", Identity => "identity" });
