//! The network.

use candle_core::{DType, Device, Tensor};
use ddpm_checkpoint::Tensors;

use crate::dino_v2::block::{Block, LayerNorm};
use crate::dino_v2::config::DinoV2Config;
use crate::dino_v2::position_embedding::resized_positions;
use crate::dino_v2::weight_names::{is_ignored, with_original_names};
use crate::error::{FeaturesError, Result};
use crate::feature_network::{FeatureNetwork, Features};
use crate::preprocessing::Preprocessing;
use crate::weights::Weights;

/// Images that are computed together. The memory for the values between layers is in proportion to it.
const IMAGES_TOGETHER: usize = 16;

/// DINOv2 (Oquab et al. 2023) without registers: a vision transformer (Dosovitskiy et al. 2021) of patches with a class
/// token, whose normalized output is the feature vector.
///
/// Weights have the names of transformers' `Dinov2Model` or of the checkpoints of Meta AI.
#[derive(Debug)]
pub struct DinoV2 {
    config: DinoV2Config,
    /// [width, 3, patch, patch] and [1, width, 1, 1].
    patch_projection: (Tensor, Tensor),
    /// [1, 1, width]
    class_token: Tensor,
    /// [1, 1 + patches, width]
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    preprocessing: Preprocessing,
    device: Device,
}

impl DinoV2 {
    /// The name of the network with a ViT-L/14.
    pub const NAME: &'static str = "dinov2-vit-l14";

    /// Builds the network. The size of `preprocessing` has to be a multiple of the patch size.
    ///
    /// # Errors
    /// [`FeaturesError::OtherNetwork`] listing tensors that are missing, unknown or of another shape;
    /// [`FeaturesError::Config`].
    pub fn from_tensors(
        tensors: &Tensors,
        config: &DinoV2Config,
        preprocessing: Preprocessing,
        device: &Device,
    ) -> Result<Self> {
        config.check()?;
        preprocessing.check(config.patch_size..=2048)?;
        if !preprocessing.size.is_multiple_of(config.patch_size) {
            let (expected, found) = (format!("a multiple of {}", config.patch_size), preprocessing.size.to_string());
            return Err(FeaturesError::Config { field: "size", expected, found });
        }
        let tensors = with_original_names(tensors)?;
        let weights = Weights::new(&tensors);
        let (width, patch, grid) = (config.width, config.patch_size, config.pretrained_grid());
        let projection = weights.get("patch_embed.proj.weight", &[width, 3, patch, patch])?.to_device(device)?;
        let bias = weights.get("patch_embed.proj.bias", &[width])?.reshape((1, width, 1, 1))?.to_device(device)?;
        let class_token = weights.get("cls_token", &[1, 1, width])?.to_device(device)?;
        let positions = weights.get("pos_embed", &[1, 1 + grid * grid, width])?;
        let blocks = (0..config.depth).map(|i| Block::new(&weights, i, config, device)).collect::<Result<_>>()?;
        let norm = LayerNorm::new(&weights, "norm", width, device)?;
        FeaturesError::check_differences(Self::NAME, weights.differences(is_ignored))?;
        Ok(Self {
            config: config.clone(),
            patch_projection: (projection, bias),
            class_token,
            positions: resized_positions(&positions, grid, preprocessing.size / patch)?.to_device(device)?,
            blocks,
            norm,
            preprocessing,
            device: device.clone(),
        })
    }

    /// The features of a few images of the size of the network, [image, 3, size, size].
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let (count, width) = (images.dim(0)?, self.config.width);
        let patches = images.conv2d(&self.patch_projection.0, 0, self.config.patch_size, 1, 1)?;
        let patches = patches.broadcast_add(&self.patch_projection.1)?.flatten_from(2)?.transpose(1, 2)?;
        let class_tokens = self.class_token.broadcast_as((count, 1, width))?;
        let tokens = Tensor::cat(&[&class_tokens, &patches], 1)?.broadcast_add(&self.positions)?;
        let length = tokens.dim(1)?;
        let mut x = tokens.reshape((count * length, width))?;
        for block in &self.blocks {
            x = block.forward(&x, count)?;
        }
        let class_tokens = x.reshape((count, length, width))?.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        self.norm.forward(&class_tokens)
    }
}

impl FeatureNetwork for DinoV2 {
    fn name(&self) -> &'static str {
        if self.config == DinoV2Config::vit_l14() { Self::NAME } else { "dinov2" }
    }

    fn feature_width(&self) -> usize {
        self.config.width
    }

    fn class_count(&self) -> Option<usize> {
        None
    }

    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn features(&self, images: &Tensor) -> Result<Features> {
        let (count, height, width) = Preprocessing::check_images(images)?;
        let prepared = self.preprocessing.for_size(height, width);
        let mut parts = vec![Tensor::zeros((0, self.config.width), DType::F32, &self.device)?];
        for start in (0..count).step_by(IMAGES_TOGETHER) {
            let part = images.narrow(0, start, IMAGES_TOGETHER.min(count - start))?.to_device(&self.device)?;
            parts.push(self.forward(&prepared.batch(&part)?)?);
        }
        Ok(Features { features: Tensor::cat(&parts, 0)?, logits: None })
    }
}
