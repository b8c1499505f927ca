//! A block of the transformer.

use candle_core::{D, Tensor};
use candle_nn::ops::{layer_norm, softmax_last_dim};

use crate::dino_v2::config::DinoV2Config;
use crate::error::Result;
use crate::linear_layer::LinearLayer;
use crate::weights::Weights;

/// ε of all layer normalizations.
const EPS: f32 = 1e-6;

/// Layer normalization of the features of each token (Ba et al. 2016).
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(crate) fn new(weights: &Weights<'_>, name: &str, width: usize, device: &candle_core::Device) -> Result<Self> {
        let get = |part: &str| Ok(weights.get(&format!("{name}.{part}"), &[width])?.to_device(device)?);
        let get = |part| -> Result<Tensor> { get(part) };
        Ok(Self { weight: get("weight")?, bias: get("bias")? })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        layer_norm(x, &self.weight, &self.bias, EPS)
    }
}

/// x + λ₁ attention(norm(x)), then x + λ₂ mlp(norm(x)), with factors λ for each feature (LayerScale, Touvron et al.
/// 2021).
#[derive(Debug)]
pub(crate) struct Block {
    attention_norm: LayerNorm,
    qkv: LinearLayer,
    projection: LinearLayer,
    attention_scale: Tensor,
    mlp_norm: LayerNorm,
    mlp: [LinearLayer; 2],
    mlp_scale: Tensor,
    heads: usize,
}

impl Block {
    pub(crate) fn new(
        weights: &Weights<'_>,
        index: usize,
        config: &DinoV2Config,
        device: &candle_core::Device,
    ) -> Result<Self> {
        let width = config.width;
        let name = |part: &str| format!("blocks.{index}.{part}");
        let linear = |part: &str, features| LinearLayer::new(weights, &name(part), features, device);
        let scale = |part: &str| -> Result<Tensor> { Ok(weights.get(&name(part), &[width])?.to_device(device)?) };
        Ok(Self {
            attention_norm: LayerNorm::new(weights, &name("norm1"), width, device)?,
            qkv: linear("attn.qkv", (width, 3 * width))?,
            projection: linear("attn.proj", (width, width))?,
            attention_scale: scale("ls1.gamma")?,
            mlp_norm: LayerNorm::new(weights, &name("norm2"), width, device)?,
            mlp: [
                linear("mlp.fc1", (width, config.mlp_ratio * width))?,
                linear("mlp.fc2", (config.mlp_ratio * width, width))?,
            ],
            mlp_scale: scale("ls2.gamma")?,
            heads: config.heads,
        })
    }

    /// # Shapes
    /// `x` and the result [image · token, feature], with `images` images.
    pub(crate) fn forward(&self, x: &Tensor, images: usize) -> candle_core::Result<Tensor> {
        let attended = self.attention(&self.attention_norm.forward(x)?, images)?;
        let x = (x + attended.broadcast_mul(&self.attention_scale)?)?;
        let hidden = self.mlp[0].forward(&self.mlp_norm.forward(&x)?)?.gelu_erf()?;
        let out = self.mlp[1].forward(&hidden)?.broadcast_mul(&self.mlp_scale)?;
        x + out
    }

    /// softmax(q kᵀ / √d) v for each image and head, with d the features of a head (Vaswani et al. 2017, eq. 1).
    fn attention(&self, x: &Tensor, images: usize) -> candle_core::Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let (tokens, features) = (rows / images, width / self.heads);
        let qkv = self.qkv.forward(x)?.reshape((images, tokens, 3, self.heads, features))?;
        // [image, head, token, feature]
        let part = |i| qkv.narrow(2, i, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let query = (query * (1.0 / (features as f64).sqrt()))?;
        let weights = softmax_last_dim(&query.matmul(&key.transpose(D::Minus1, D::Minus2)?.contiguous()?)?)?;
        let out = weights.matmul(&value)?.transpose(1, 2)?.contiguous()?.reshape((rows, width))?;
        self.projection.forward(&out)
    }
}
