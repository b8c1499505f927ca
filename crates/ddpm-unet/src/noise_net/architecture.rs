//! The layers of the article's network and their order.

use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use ddpm_ops::{Tape, Value};

use super::config::NoiseNetConfig;
use super::down_block::DownBlock;
use super::mid_block::MidBlock;
use super::res_block::PostNormResBlock;
use super::up_block::UpBlock;
use crate::activation::Activation;
use crate::architecture::{Architecture, Conditioning};
use crate::context::Context;
use crate::denoising_network::DenoisingNetwork;
use crate::error::UnetError;
use crate::layers::{Conv2d, Embedding, SinusoidalEmbedding, TimeEmbedding};
use crate::skip_stack::SkipStack;

/// The network of the article *Introduction to Generative AI: Vision Series (3/3) – DDPM*: a UNet of residual blocks
/// that normalize after each convolution.
///
/// With [`NoiseNetConfig::num_class_embeds`], predictions are conditioned on classes: a learned vector of the class is
/// added to the time embedding. The article has no classes.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use ddpm_unet::{ImageSize, NoiseNet, NoiseNetConfig};
///
/// let config = NoiseNetConfig {
///     channels: 1,
///     image_size: ImageSize::square(8),
///     base_channels: 8,
///     channel_multipliers: vec![1, 2],
///     ..NoiseNetConfig::article()
/// };
/// let variables = VarMap::new();
/// let network = NoiseNet::new(&config, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?;
///
/// let x_t = Tensor::zeros((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// let t = Tensor::new(&[0f32, 999.0], &Device::Cpu)?;
/// assert_eq!(network.forward(&x_t, &t, None)?.dims(), [2, 1, 8, 8]);
/// # Ok::<(), ddpm_unet::UnetError>(())
/// ```
pub type NoiseNet = DenoisingNetwork<NoiseNetArchitecture>;

/// The layers of a [`NoiseNet`].
#[derive(Debug)]
pub struct NoiseNetArchitecture {
    time_embedding: TimeEmbedding,
    class_embedding: Option<Embedding>,
    input_conv: Conv2d,
    downs: Vec<DownBlock>,
    mid: MidBlock,
    ups: Vec<UpBlock>,
    output_res: PostNormResBlock,
    output_conv: Conv2d,
}

impl Architecture for NoiseNetArchitecture {
    type Config = NoiseNetConfig;

    fn new(config: &NoiseNetConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (base, levels) = (config.base_channels, config.levels());
        let down = |(i, level)| DownBlock::new(&config.down_block(level), vb.pp("downs").pp(i));
        let up = |(i, level)| UpBlock::new(&config.up_block(level), vb.pp("ups").pp(i));
        Ok(Self {
            time_embedding: time_embedding(config, vb.pp("time_embedding"))?,
            class_embedding: class_embedding(config, vb.pp("class_embedding"))?,
            input_conv: Conv2d::new(config.channels, base, 7, vb.pp("input_conv"))?,
            downs: levels.iter().enumerate().map(down).collect::<Result<_>>()?,
            mid: MidBlock::new(&config.mid_block(), vb.pp("mid"))?,
            ups: levels.iter().rev().enumerate().map(up).collect::<Result<_>>()?,
            output_res: PostNormResBlock::new(&config.res_block(2 * base, base), vb.pp("output_res"))?,
            output_conv: Conv2d::new(base, config.channels, 1, vb.pp("output_conv"))?,
        })
    }

    fn embed(&self, tape: &Tape, conditioning: &Conditioning<'_>) -> Result<Value> {
        let time = self.time_embedding.forward(tape, conditioning.timesteps)?;
        let embedding = match (&self.class_embedding, conditioning.class_labels) {
            (Some(classes), Some(labels)) => tape.add(&time, &classes.forward(tape, labels)?)?,
            (None, None) => time,
            _ => bail!("class labels are given exactly if the network is conditioned on classes"),
        };
        tape.silu(&embedding)
    }

    fn forward(&self, x_t: &Value, context: &Context<'_>) -> Result<Value> {
        let mut skips = SkipStack::new();
        let mut x = self.input_conv.forward(context.tape(), x_t)?;
        skips.push(&x);
        for down in &self.downs {
            x = down.forward(&x, context, &mut skips)?;
        }
        x = self.mid.forward(&x, context)?;
        for up in &self.ups {
            x = up.forward(&x, context, &mut skips)?;
        }
        let x = self.output_res.forward(&x, Some(&skips.pop()?), context)?;
        self.output_conv.forward(context.tape(), &x)
    }

    fn validate(config: &NoiseNetConfig) -> std::result::Result<(), UnetError> {
        config.validate()
    }

    fn check_image(
        config: &NoiseNetConfig,
        channels: usize,
        height: usize,
        width: usize,
    ) -> std::result::Result<(), UnetError> {
        if channels != config.channels {
            return Err(UnetError::config("channels", config.channels.to_string(), channels));
        }
        config.check_divides(height, width)
    }

    fn dropout(config: &NoiseNetConfig) -> f64 {
        config.dropout
    }

    fn takes_class_labels(config: &NoiseNetConfig) -> bool {
        config.num_class_embeds.is_some()
    }
}

/// The class embedding, which is added to the time embedding, as in diffusers' `UNet2DModel`.
fn class_embedding(config: &NoiseNetConfig, vb: VarBuilder<'_>) -> Result<Option<Embedding>> {
    config.num_class_embeds.map(|rows| Embedding::new(rows, config.time_channels(), vb)).transpose()
}

fn time_embedding(config: &NoiseNetConfig, vb: VarBuilder<'_>) -> Result<TimeEmbedding> {
    let sinusoids = SinusoidalEmbedding { width: config.base_channels, freq_shift: 1, flip_sin_to_cos: false };
    // In the article's `Sequential`, module 0 is the sinusoidal embedding and module 2 the GELU.
    TimeEmbedding::new(sinusoids, config.time_channels(), Activation::Gelu, vb.pp(1), vb.pp(3))
}
