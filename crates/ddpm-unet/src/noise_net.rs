//! The article's noise-prediction network.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use ddpm_ops::{ComputeOptions, PackedWeights, Precision, Recorded, Value};
use ddpm_rng::Stream;

use crate::UnetError;
use crate::context::Context;
use crate::down_block::DownBlock;
use crate::layers::Conv2d;
use crate::mid_block::MidBlock;
use crate::noise_net_config::NoiseNetConfig;
use crate::parameters::{ParameterSpec, Parameters, Registry, initial_weights};
use crate::resnet_block::ResnetBlock;
use crate::time_embedding::TimeEmbedding;
use crate::up_block::{UpBlock, take_skip};

/// ε_θ(x_t, t) of the article: a UNet of residual blocks with a stack of skip connections.
///
/// It holds the tensors it was built from, so a change of a variable among them shows in the next forward pass.
#[derive(Debug)]
pub struct NoiseNet {
    config: NoiseNetConfig,
    time_embedding: TimeEmbedding,
    input_conv: Conv2d,
    downs: Vec<DownBlock>,
    mid: MidBlock,
    ups: Vec<UpBlock>,
    output_res: ResnetBlock,
    output_conv: Conv2d,
    computation: ComputeOptions,
    recompute: bool,
}

impl NoiseNet {
    /// The network of that configuration with those weights, by name.
    ///
    /// # Errors
    /// When the configuration is invalid, or weights are missing, unknown or mis-shaped: all of them are listed.
    pub fn new(config: &NoiseNetConfig, weights: &BTreeMap<String, Tensor>) -> std::result::Result<Self, UnetError> {
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
    pub fn parameters(config: &NoiseNetConfig) -> std::result::Result<BTreeMap<String, ParameterSpec>, UnetError> {
        config.validate()?;
        let registry = Registry::new(None);
        Self::build(config, &Parameters::root(&registry))?;
        registry.into_inner().finish()
    }

    /// How many numbers a network of that configuration learns.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn parameter_count(config: &NoiseNetConfig) -> std::result::Result<usize, UnetError> {
        Ok(Self::parameters(config)?.values().map(|spec| spec.shape.iter().product::<usize>()).sum())
    }

    /// Initial weights, f32 on the CPU, a function of (configuration, seed) alone. PyTorch's defaults, as in the article.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn initial_weights(
        config: &NoiseNetConfig,
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
    pub fn config(&self) -> &NoiseNetConfig {
        &self.config
    }

    /// The predicted noise ε_θ(x_t, t).
    ///
    /// # Shapes
    /// `x_t` [batch, channel, height, width]; `t` `[batch]`, time steps from 0, of any dtype. The result has the shape of
    /// `x_t`. Height and width may differ from the configuration's as long as they divide by 2^(levels − 1).
    ///
    /// # Errors
    /// When the shapes do not fit the configuration.
    pub fn forward(&self, x_t: &Tensor, t: &Tensor) -> std::result::Result<Tensor, UnetError> {
        Ok(self.run(x_t, t, None)?.into_tensor()?)
    }

    /// The same in training, with dropout masks drawn from `dropout`, and with the record that gradients are computed from.
    ///
    /// # Errors
    /// Those of [`NoiseNet::forward`].
    pub fn forward_train(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        dropout: &mut Stream,
    ) -> std::result::Result<Recorded, UnetError> {
        self.run(x_t, t, Some(dropout))
    }

    fn run(&self, x_t: &Tensor, t: &Tensor, dropout: Option<&mut Stream>) -> std::result::Result<Recorded, UnetError> {
        let (batch, channels, height, width) = x_t.dims4()?;
        if channels != self.config.channels {
            return Err(UnetError::config("channels", self.config.channels.to_string(), channels));
        }
        if t.dims() != [batch] {
            let message = format!("expected one time step an image, [{batch}], found {:?}", t.dims());
            return Err(candle_core::Error::Msg(message).into());
        }
        self.config.check_divides(height, width)?;

        Ok(ddpm_ops::recorded(&self.computation, &[x_t], |tape, values| {
            let time = tape.silu(&self.time_embedding.forward(tape, t)?)?;
            let recompute = self.recompute && dropout.is_some();
            let dropout = dropout.map(|stream| (self.config.dropout, RefCell::new(stream)));
            self.unet(&values[0], &Context { tape, time, recompute, dropout })
        })?)
    }

    fn unet(&self, x_t: &Value, context: &Context<'_>) -> Result<Value> {
        let mut x = self.input_conv.forward(context.tape, x_t)?;
        let mut skips = vec![x.clone()];
        for down in &self.downs {
            x = down.forward(&x, context, &mut skips)?;
        }
        x = self.mid.forward(&x, context)?;
        for up in &self.ups {
            x = up.forward(&x, context, &mut skips)?;
        }
        let x = self.output_res.forward(&x, Some(&take_skip(&mut skips)?), context)?;
        self.output_conv.forward(context.tape, &x)
    }

    fn build(config: &NoiseNetConfig, p: &Parameters<'_>) -> Result<Self> {
        let (base, levels) = (config.base_channels, config.levels());
        let downs = levels.iter().enumerate().map(|(i, level)| DownBlock::new(level, config, &p.at("downs").at(i)));
        let ups = levels.iter().rev().enumerate().map(|(i, level)| UpBlock::new(level, config, &p.at("ups").at(i)));
        let lowest = levels.last().map_or(base, |level| level.channels_out);
        Ok(Self {
            config: config.clone(),
            computation: ComputeOptions::default(),
            recompute: false,
            time_embedding: TimeEmbedding::new(base, &p.at("time_embedding"))?,
            input_conv: Conv2d::new(config.channels, base, 7, &p.at("input_conv"))?,
            downs: downs.collect::<Result<_>>()?,
            mid: MidBlock::new(lowest, config, &p.at("mid"))?,
            ups: ups.collect::<Result<_>>()?,
            output_res: ResnetBlock::new(2 * base, base, config, &p.at("output_res"))?,
            output_conv: Conv2d::new(base, config.channels, 1, &p.at("output_conv"))?,
        })
    }
}
