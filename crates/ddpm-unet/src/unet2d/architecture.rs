//! The layers of diffusers' `UNet2DModel` and their order.

use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use ddpm_ops::{Tape, Value};

use super::class_embedding::ClassEmbedding;
use super::config::UNet2dConfig;
use super::config_enums::ClassEmbedType;
use super::down_block::DownBlock2d;
use super::mid_block::MidBlock2d;
use super::up_block::UpBlock2d;
use crate::activation::Activation;
use crate::architecture::{Architecture, Conditioning};
use crate::context::Context;
use crate::denoising_network::DenoisingNetwork;
use crate::error::UnetError;
use crate::layers::{Conv2d, Embedding, GroupNorm, SinusoidalEmbedding, TimeEmbedding};
use crate::skip_stack::SkipStack;

/// The network of Ho et al. 2020, appendix B, with every option of diffusers' `UNet2DModel` that [`UNet2dConfig`]
/// names.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use ddpm_unet::{DownBlockType, ImageSize, UNet2d, UNet2dConfig, UpBlockType};
///
/// let config = UNet2dConfig {
///     sample_size: ImageSize::square(8),
///     block_out_channels: vec![8, 16],
///     down_block_types: vec![DownBlockType::DownBlock2D, DownBlockType::AttnDownBlock2D],
///     up_block_types: vec![UpBlockType::AttnUpBlock2D, UpBlockType::UpBlock2D],
///     norm_num_groups: 4,
///     num_class_embeds: Some(10),
///     ..UNet2dConfig::cifar10()
/// };
/// let variables = VarMap::new();
/// let network = UNet2d::new(&config, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?;
///
/// let x_t = Tensor::zeros((2, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let (t, labels) = (Tensor::new(&[0f32, 999.0], &Device::Cpu)?, Tensor::new(&[7u32, 9], &Device::Cpu)?);
/// assert_eq!(network.forward(&x_t, &t, Some(&labels))?.dims(), [2, 3, 8, 8]);
/// # Ok::<(), ddpm_unet::UnetError>(())
/// ```
pub type UNet2d = DenoisingNetwork<UNet2dArchitecture>;

/// The layers of a [`UNet2d`].
#[derive(Debug)]
pub struct UNet2dArchitecture {
    /// Whether images come in [0, 1] and are mapped to [−1, 1].
    center_input_sample: bool,
    conv_in: Conv2d,
    time_embedding: TimeEmbedding,
    class_embedding: Option<ClassEmbedding>,
    time_activation: Activation,
    down_blocks: Vec<DownBlock2d>,
    mid_block: Option<MidBlock2d>,
    up_blocks: Vec<UpBlock2d>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Architecture for UNet2dArchitecture {
    type Config = UNet2dConfig;

    fn new(config: &UNet2dConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let highest = config.block_out_channels[0];
        let down = |(i, config)| DownBlock2d::new(config, vb.pp("down_blocks").pp(i));
        let up = |(i, config)| UpBlock2d::new(config, vb.pp("up_blocks").pp(i));
        let mid = |config| MidBlock2d::new(&config, vb.pp("mid_block"));
        let (groups, eps) = (config.norm_num_groups, config.norm_eps);
        Ok(Self {
            center_input_sample: config.center_input_sample,
            conv_in: Conv2d::new(config.in_channels, highest, 3, vb.pp("conv_in"))?,
            time_embedding: time_embedding(config, vb.pp("time_embedding"))?,
            class_embedding: class_embedding(config, vb.pp("class_embedding"))?,
            time_activation: config.act_fn,
            down_blocks: config.down_blocks().iter().enumerate().map(down).collect::<Result<_>>()?,
            mid_block: config.mid_block().map(mid).transpose()?,
            up_blocks: config.up_blocks().iter().enumerate().map(up).collect::<Result<_>>()?,
            conv_norm_out: GroupNorm::new(groups, highest, eps, vb.pp("conv_norm_out"))?,
            conv_out: Conv2d::new(highest, config.out_channels, 3, vb.pp("conv_out"))?,
        })
    }

    fn embed(&self, tape: &Tape, conditioning: &Conditioning<'_>) -> Result<Value> {
        let mut embedding = self.time_embedding.forward(tape, conditioning.timesteps)?;
        match (&self.class_embedding, conditioning.class_labels) {
            (Some(class_embedding), Some(labels)) => {
                embedding = tape.add(&embedding, &class_embedding.forward(tape, labels)?)?;
            }
            (None, None) => {}
            _ => bail!("class labels are given exactly if the network is conditioned on classes"),
        }
        self.time_activation.forward(tape, &embedding)
    }

    fn forward(&self, x_t: &Value, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape();
        let centered;
        let x_t = if self.center_input_sample {
            centered = tape.affine(x_t, 2.0, -1.0)?;
            &centered
        } else {
            x_t
        };
        let mut skips = SkipStack::new();
        let mut x = self.conv_in.forward(tape, x_t)?;
        skips.push(&x);
        for down in &self.down_blocks {
            x = down.forward(&x, context, &mut skips)?;
        }
        if let Some(mid) = &self.mid_block {
            x = mid.forward(&x, context)?;
        }
        for up in &self.up_blocks {
            x = up.forward(&x, context, &mut skips)?;
        }
        self.conv_out.forward(tape, &self.conv_norm_out.forward_silu(tape, &x)?)
    }

    fn validate(config: &UNet2dConfig) -> std::result::Result<(), UnetError> {
        config.validate()
    }

    fn check_image(
        config: &UNet2dConfig,
        channels: usize,
        height: usize,
        width: usize,
    ) -> std::result::Result<(), UnetError> {
        if channels != config.in_channels {
            return Err(UnetError::config("in_channels", config.in_channels.to_string(), channels));
        }
        config.check_divides(height, width)
    }

    fn dropout(config: &UNet2dConfig) -> f64 {
        config.dropout
    }

    fn takes_class_labels(config: &UNet2dConfig) -> bool {
        config.class_embed_type.is_some() || config.num_class_embeds.is_some()
    }
}

fn time_embedding(config: &UNet2dConfig, vb: VarBuilder<'_>) -> Result<TimeEmbedding> {
    let sinusoids = SinusoidalEmbedding {
        width: config.block_out_channels[0],
        freq_shift: config.freq_shift,
        flip_sin_to_cos: config.flip_sin_to_cos,
    };
    let (vb1, vb2) = (vb.pp("linear_1"), vb.pp("linear_2"));
    TimeEmbedding::new(sinusoids, config.time_channels(), Activation::Silu, vb1, vb2)
}

fn class_embedding(config: &UNet2dConfig, vb: VarBuilder<'_>) -> Result<Option<ClassEmbedding>> {
    Ok(match (config.class_embed_type, config.num_class_embeds) {
        (Some(ClassEmbedType::Timestep), _) => Some(ClassEmbedding::Timestep(time_embedding(config, vb)?)),
        (Some(ClassEmbedType::Identity), _) => Some(ClassEmbedding::Identity),
        (None, Some(rows)) => Some(ClassEmbedding::Table(Embedding::new(rows, config.time_channels(), vb)?)),
        (None, None) => None,
    })
}
