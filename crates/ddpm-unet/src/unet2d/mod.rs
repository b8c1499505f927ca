//! The network of Ho et al. 2020 as diffusers' `UNet2DModel` has it: tensor names, configuration and arithmetic.
//!
//! Reading order: [`config`], then [`UNet2d`], `down`, `mid`, `up`, `resnet`, `attention`.

mod attention;
pub(crate) mod config;
mod down;
mod mid;
mod resnet;
mod up;

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, bail};
use ddpm_ops::{ComputeOptions, PackedWeights, Precision, Recorded, Tape, Value};
use ddpm_rng::Stream;

use self::config::{ClassEmbedType, MidBlockType, UNet2dConfig};
use self::down::Down;
use self::mid::Mid;
use self::resnet::activated;
use self::up::Up;
use crate::UnetError;
use crate::context::Context;
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::parameters::{Init, ParameterSpec, Parameters, Registry, initial_weights};
use crate::time_embedding::sinusoids;

/// The network of Ho et al. 2020, appendix B, with every option of diffusers' `UNet2DModel` that [`UNet2dConfig`] names.
///
/// It holds the tensors it was built from, so a change of a variable among them shows in the next forward pass.
#[derive(Debug)]
pub struct UNet2d {
    config: UNet2dConfig,
    conv_in: Conv2d,
    time_embedding: TimeMlp,
    class_embedding: Option<ClassEmbedding>,
    down_blocks: Vec<Down>,
    mid_block: Option<Mid>,
    up_blocks: Vec<Up>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    computation: ComputeOptions,
    recompute: bool,
}

/// Two fully connected layers with SiLU between them.
#[derive(Debug)]
struct TimeMlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl TimeMlp {
    fn new(config: &UNet2dConfig, p: &Parameters<'_>) -> Result<Self> {
        let (width, channels) = (config.block_out_channels[0], config.time_channels());
        let linear_1 = Linear::new(width, channels, &p.at("linear_1"))?;
        Ok(Self { linear_1, linear_2: Linear::new(channels, channels, &p.at("linear_2"))? })
    }

    fn forward(&self, tape: &Tape, t: &Tensor, config: &UNet2dConfig) -> Result<Value> {
        let sinusoids = sinusoids(t, config.block_out_channels[0], config.freq_shift, config.flip_sin_to_cos)?;
        let embedding = tape.constant(&sinusoids)?;
        self.linear_2.forward(tape, &tape.silu(&self.linear_1.forward(tape, &embedding)?)?)
    }
}

/// What a class adds to the embedded time step.
#[derive(Debug)]
enum ClassEmbedding {
    /// A row of a table, [class, feature].
    Table(Tensor),
    Timestep(TimeMlp),
    Identity,
}

impl ClassEmbedding {
    fn new(config: &UNet2dConfig, p: &Parameters<'_>) -> Result<Option<Self>> {
        Ok(match (config.class_embed_type, config.num_class_embeds) {
            (Some(ClassEmbedType::Timestep), _) => Some(Self::Timestep(TimeMlp::new(config, p)?)),
            (Some(ClassEmbedType::Identity), _) => Some(Self::Identity),
            (None, Some(rows)) => Some(Self::Table(p.get("weight", &[rows, config.time_channels()], Init::Normal)?)),
            (None, None) => None,
        })
    }

    fn forward(&self, tape: &Tape, classes: &Tensor, config: &UNet2dConfig) -> Result<Value> {
        match self {
            Self::Table(table) => {
                let rows = classes.to_dtype(DType::I64)?.to_vec1::<i64>()?;
                // A negative one is no row either.
                let rows: Vec<usize> = rows.iter().map(|row| usize::try_from(*row).unwrap_or(usize::MAX)).collect();
                tape.embedding(table, &rows)
            }
            Self::Timestep(mlp) => mlp.forward(tape, classes, config),
            Self::Identity => tape.constant(classes),
        }
    }
}

impl UNet2d {
    /// The network of that configuration with those weights, by diffusers' names.
    ///
    /// # Errors
    /// When the configuration is invalid, or weights are missing, unknown or mis-shaped: all of them are listed.
    pub fn new(config: &UNet2dConfig, weights: &BTreeMap<String, Tensor>) -> std::result::Result<Self, UnetError> {
        config.validate()?;
        let registry = Registry::new(Some(weights.clone()));
        let network = Self::build(config, &Parameters::root(&registry))?;
        registry.into_inner().finish()?;
        Ok(network)
    }

    /// Every parameter of a network of that configuration, by name. Takes no memory for their values.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameters(config: &UNet2dConfig) -> std::result::Result<BTreeMap<String, ParameterSpec>, UnetError> {
        config.validate()?;
        let registry = Registry::new(None);
        Self::build(config, &Parameters::root(&registry))?;
        registry.into_inner().finish()
    }

    /// How many numbers a network of that configuration learns.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameter_count(config: &UNet2dConfig) -> std::result::Result<usize, UnetError> {
        Ok(Self::parameters(config)?.values().map(|spec| spec.shape.iter().product::<usize>()).sum())
    }

    /// Initial weights, f32 on the CPU, a function of (configuration, seed) alone. PyTorch's defaults, as in diffusers.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn initial_weights(
        config: &UNet2dConfig,
        seed: u64,
    ) -> std::result::Result<BTreeMap<String, Tensor>, UnetError> {
        Ok(initial_weights(&Self::parameters(config)?, seed)?)
    }

    /// The network, computing in that precision: f32 before.
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { computation: ComputeOptions { precision, ..self.computation }, ..self }
    }

    /// The network with what its convolutions make of their weights kept from pass to pass, for weights that never change again:
    /// a pass of one image takes half the time. It takes up to five times the memory of the weights, and at most 1 GiB more
    /// on the CPU.
    pub fn with_packed_weights(self) -> Self {
        let packed_weights = Some(PackedWeights::default());
        Self { computation: ComputeOptions { packed_weights, ..self.computation }, ..self }
    }

    /// The network with the activations of its residual blocks computed again for the gradient rather than kept: in training it
    /// takes less memory and more time, and comes to the same up to the order of sums.
    pub fn with_recompute(self, recompute: bool) -> Self {
        Self { recompute, ..self }
    }

    /// The configuration it was built from.
    pub fn config(&self) -> &UNet2dConfig {
        &self.config
    }

    /// The prediction for noisy images: of the noise, or of whatever else it was trained to predict.
    ///
    /// # Shapes
    /// `x_t` [batch, in_channels, height, width]; `t` `[batch]`, time steps from 0, of any dtype; `classes` where the network is
    /// conditioned on them: `[batch]`, or [batch, time channels] where they are embeddings already. The result is
    /// [batch, out_channels, height, width]. Height and width may differ from the configuration's as long as they divide by
    /// 2^(levels − 1).
    ///
    /// # Errors
    /// When the shapes do not fit the configuration, or classes are missing or not wanted.
    pub fn forward(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        classes: Option<&Tensor>,
    ) -> std::result::Result<Tensor, UnetError> {
        Ok(self.run(x_t, t, classes, None)?.into_tensor()?)
    }

    /// The same in training, with dropout masks drawn from `dropout`, and with the record that gradients are computed from.
    ///
    /// # Errors
    /// Those of [`UNet2d::forward`].
    pub fn forward_train(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        classes: Option<&Tensor>,
        dropout: &mut Stream,
    ) -> std::result::Result<Recorded, UnetError> {
        self.run(x_t, t, classes, Some(dropout))
    }

    fn run(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        classes: Option<&Tensor>,
        dropout: Option<&mut Stream>,
    ) -> std::result::Result<Recorded, UnetError> {
        let config = &self.config;
        let (batch, channels, height, width) = x_t.dims4()?;
        if channels != config.in_channels {
            return Err(UnetError::config("in_channels", config.in_channels.to_string(), channels));
        }
        if t.dims() != [batch] {
            let message = format!("expected one time step an image, [{batch}], found {:?}", t.dims());
            return Err(candle_core::Error::Msg(message).into());
        }
        config.check_divides(height, width)?;
        Ok(ddpm_ops::recorded(&self.computation, &[x_t], |tape, values| {
            let x = &values[0];
            let mut time = self.time_embedding.forward(tape, t, config)?;
            match (&self.class_embedding, classes) {
                (Some(embedding), Some(classes)) if classes.dims().first() == Some(&batch) => {
                    time = tape.add(&time, &embedding.forward(tape, classes, config)?)?;
                }
                (None, None) => {}
                (Some(_), _) => bail!("this network is conditioned on classes: expected one an image, {batch} of them"),
                (None, Some(_)) => bail!("this network is not conditioned on classes"),
            }
            let time = activated(tape, config.act_fn, &time)?;
            let recompute = self.recompute && dropout.is_some();
            let dropout = dropout.map(|stream| (config.dropout, RefCell::new(stream)));
            let context = Context { tape, time, recompute, dropout };
            if config.center_input_sample {
                self.unet(&tape.affine(x, 2.0, -1.0)?, &context)
            } else {
                self.unet(x, &context)
            }
        })?)
    }

    fn unet(&self, x_t: &Value, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape;
        let mut x = self.conv_in.forward(tape, x_t)?;
        let mut skips = vec![x.clone()];
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

    fn build(config: &UNet2dConfig, p: &Parameters<'_>) -> Result<Self> {
        let (first, levels) = (config.block_out_channels[0], config.block_out_channels.len());
        let lowest = config.block_out_channels[levels - 1];
        let mid = || Mid::new(lowest, config, &p.at("mid_block"));
        let up_levels = config.up_levels();
        let ups = config.up_block_types.iter().zip(&up_levels).enumerate();
        Ok(Self {
            config: config.clone(),
            computation: ComputeOptions::default(),
            recompute: false,
            conv_in: Conv2d::new(config.in_channels, first, 3, &p.at("conv_in"))?,
            time_embedding: TimeMlp::new(config, &p.at("time_embedding"))?,
            class_embedding: ClassEmbedding::new(config, &p.at("class_embedding"))?,
            down_blocks: (0..levels)
                .map(|level| Down::new(level, config, &p.at("down_blocks").at(level)))
                .collect::<Result<_>>()?,
            mid_block: if config.mid_block_type == MidBlockType::None { None } else { Some(mid()?) },
            up_blocks: ups
                .map(|(i, (kind, level))| Up::new(*kind, level, config, &p.at("up_blocks").at(i)))
                .collect::<Result<_>>()?,
            conv_norm_out: GroupNorm::new(config.norm_num_groups, first, config.norm_eps, &p.at("conv_norm_out"))?,
            conv_out: Conv2d::new(first, config.out_channels, 3, &p.at("conv_out"))?,
        })
    }
}
