//! The sizes of the network.

use serde::{Deserialize, Serialize};

use crate::error::{FeaturesError, Result};

/// The sizes of a DINOv2 network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DinoV2Config {
    /// The features of a token.
    pub width: usize,
    /// The number of transformer blocks.
    pub depth: usize,
    /// The number of attention heads, a divisor of `width`.
    pub heads: usize,
    /// The width of the hidden layer of a block, as a multiple of `width`.
    pub mlp_ratio: usize,
    /// Height and width of a patch, in pixels.
    pub patch_size: usize,
    /// Height and width of the images of the training, in pixels: a multiple of `patch_size`. There is one position
    /// embedding for each of their patches.
    pub pretrained_size: usize,
}

impl DinoV2Config {
    /// ViT-S/14, 384 features.
    pub fn vit_s14() -> Self {
        Self::published(384, 12, 6)
    }

    /// ViT-B/14, 768 features.
    pub fn vit_b14() -> Self {
        Self::published(768, 12, 12)
    }

    /// ViT-L/14, 1024 features: the network of the Fréchet distance of Stein et al. 2023.
    pub fn vit_l14() -> Self {
        Self::published(1024, 24, 16)
    }

    fn published(width: usize, depth: usize, heads: usize) -> Self {
        Self { width, depth, heads, mlp_ratio: 4, patch_size: 14, pretrained_size: 518 }
    }

    /// The number of patches along a side of the images of the training.
    pub(crate) fn pretrained_grid(&self) -> usize {
        self.pretrained_size / self.patch_size
    }

    /// Checks that the sizes fit together.
    pub(crate) fn check(&self) -> Result<()> {
        const MAX: usize = 1 << 16;
        let sizes = [
            ("width", self.width),
            ("depth", self.depth),
            ("heads", self.heads),
            ("mlp_ratio", self.mlp_ratio),
            ("patch_size", self.patch_size),
            ("pretrained_size", self.pretrained_size),
        ];
        for (field, size) in sizes {
            if !(1..=MAX).contains(&size) {
                let (expected, found) = (format!("1 to {MAX}"), size.to_string());
                return Err(FeaturesError::Config { field, expected, found });
            }
        }
        for (field, size, divisor) in
            [("width", self.width, self.heads), ("pretrained_size", self.pretrained_size, self.patch_size)]
        {
            if !size.is_multiple_of(divisor) {
                let (expected, found) = (format!("a multiple of {divisor}"), size.to_string());
                return Err(FeaturesError::Config { field, expected, found });
            }
        }
        Ok(())
    }
}
