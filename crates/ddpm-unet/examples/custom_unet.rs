//! Composes a UNet from the blocks of this crate and trains it on synthetic images.
//!
//! ```text
//! cargo run -p ddpm-unet --example custom_unet
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{AdamW, Optimizer, VarBuilder, VarMap, loss::mse};
use ddpm_ops::{Tape, Value};
use ddpm_rng::{Purpose, Stream};
use ddpm_unet::layers::{Conv2d, SinusoidalEmbedding, TimeEmbedding};
use ddpm_unet::noise_net::{NearestUpsample, UnshuffleDownsample};
use ddpm_unet::unet2d::{PreNormResBlock, PreNormResBlockConfig, SelfAttention, SelfAttentionConfig};
use ddpm_unet::{Activation, Architecture, Conditioning, Context, DenoisingNetwork};

/// Two levels: a residual block on the way down and on the way up, attention at half the size, one skip connection.
#[derive(Debug)]
struct TinyUNet {
    time: TimeEmbedding,
    conv_in: Conv2d,
    down: PreNormResBlock,
    downsample: UnshuffleDownsample,
    mid: SelfAttention,
    upsample: NearestUpsample,
    up: PreNormResBlock,
    conv_out: Conv2d,
}

impl Architecture for TinyUNet {
    /// Number of channels.
    type Config = usize;

    fn new(&channels: &usize, vb: VarBuilder<'_>) -> Result<Self> {
        let sinusoids = SinusoidalEmbedding { width: channels, freq_shift: 1, flip_sin_to_cos: false };
        let block = |channels_in| PreNormResBlockConfig {
            norm_groups: 4,
            ..PreNormResBlockConfig::new(channels_in, channels, 4 * channels)
        };
        let attention = SelfAttentionConfig { norm_groups: Some(4), ..SelfAttentionConfig::new(channels) };
        Ok(Self {
            time: TimeEmbedding::new(sinusoids, 4 * channels, Activation::Silu, vb.pp("time.1"), vb.pp("time.2"))?,
            conv_in: Conv2d::new(1, channels, 3, vb.pp("conv_in"))?,
            down: PreNormResBlock::new(&block(channels), vb.pp("down"))?,
            downsample: UnshuffleDownsample::new(channels, channels, vb.pp("downsample"))?,
            mid: SelfAttention::new(&attention, vb.pp("mid"))?,
            upsample: NearestUpsample::new(channels, channels, vb.pp("upsample"))?,
            up: PreNormResBlock::new(&block(2 * channels), vb.pp("up"))?,
            conv_out: Conv2d::new(channels, 1, 3, vb.pp("conv_out"))?,
        })
    }

    fn embed(&self, tape: &Tape, conditioning: &Conditioning<'_>) -> Result<Value> {
        tape.silu(&self.time.forward(tape, conditioning.timesteps)?)
    }

    fn forward(&self, x_t: &Value, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape();
        let skip = self.down.forward(&self.conv_in.forward(tape, x_t)?, context)?;
        let h = self.mid.forward(tape, &self.downsample.forward(tape, &skip)?)?;
        let h = tape.concat(&[&self.upsample.forward(tape, &h)?, &skip])?;
        self.conv_out.forward(tape, &self.up.forward(&h, context)?)
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let device = Device::Cpu;
    let mut variables = VarMap::new();
    let vb = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let network = DenoisingNetwork::<TinyUNet>::new(&16, vb)?;
    // candle draws initial values from a generator without a seed; these are reproducible.
    variables.set(DenoisingNetwork::<TinyUNet>::initial_weights(&16, 0)?.into_iter())?;
    let mut optimizer = AdamW::new_lr(variables.all_vars(), 3e-3)?;

    let mut losses = Vec::new();
    for step in 0..60 {
        let (x_t, t, noise) = noisy_batch(step, &device)?;
        let loss = mse(&network.forward(&x_t, &t, None)?, &noise)?;
        optimizer.backward_step(&loss)?;
        losses.push(loss.to_scalar::<f32>()?);
        if step % 10 == 9 {
            println!("step {:2}: loss {:.3}", step + 1, losses[losses.len() - 1]);
        }
    }
    let last = losses[50..].iter().sum::<f32>() / 10.0;
    assert!(last < 0.5 * losses[0], "the loss did not fall: {losses:?}");
    Ok(())
}

/// Sixteen 8 × 8 images, each of one gray value in [−1, 1], noised to timesteps between 100 and 900 of a cosine
/// schedule with 1000 steps: x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε. Returns x_t, t and ε.
fn noisy_batch(step: u64, device: &Device) -> Result<(Tensor, Tensor, Tensor)> {
    let mut random = Stream::new(0, Purpose::Synthetic, step);
    let timesteps: Vec<f64> = (0..16).map(|_| 100.0 + 800.0 * random.uniform()).collect();
    let gray: Vec<f64> = (0..16).map(|_| 2.0 * random.uniform() - 1.0).collect();
    let noise = random.normal((16, 1, 8, 8), device)?;
    let per_image = |values: Vec<f64>| Tensor::new(values, device)?.to_dtype(DType::F32)?.reshape((16, 1, 1, 1));
    let angle = |t: &f64| t / 1000.0 * std::f64::consts::FRAC_PI_2;
    let signal = per_image(timesteps.iter().zip(&gray).map(|(t, gray)| angle(t).cos() * gray).collect())?;
    let sigma = per_image(timesteps.iter().map(|t| angle(t).sin()).collect())?;
    let x_t = noise.broadcast_mul(&sigma)?.broadcast_add(&signal)?;
    Ok((x_t, Tensor::new(timesteps, device)?, noise))
}
