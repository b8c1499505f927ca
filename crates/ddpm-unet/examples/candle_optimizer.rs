//! Trains a network of this crate with candle's own tools: a `VarMap`, `loss.backward()` and `AdamW`.
//!
//! ```text
//! cargo run -p ddpm-unet --example candle_optimizer
//! ```
#![allow(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Optimizer, VarBuilder, VarMap, loss::mse};
use ddpm_rng::{Purpose, Stream};
use ddpm_unet::{ImageSize, NoiseNet, NoiseNetConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::Cpu;
    let config = NoiseNetConfig {
        channels: 1,
        image_size: ImageSize::square(8),
        base_channels: 8,
        channel_multipliers: vec![1, 2],
        ..NoiseNetConfig::article()
    };
    let mut variables = VarMap::new();
    let network = NoiseNet::new(&config, VarBuilder::from_varmap(&variables, DType::F32, &device))?;
    // candle draws initial values from a generator without a seed; these are reproducible.
    variables.set(NoiseNet::initial_weights(&config, 0)?.into_iter())?;
    let mut optimizer = AdamW::new_lr(variables.all_vars(), 3e-3)?;

    // A single batch of noise, which the network learns to predict from other noise.
    let normal = |position| Stream::new(0, Purpose::Synthetic, position).normal((4, 1, 8, 8), &device);
    let (x_t, noise) = (normal(0)?, normal(1)?);
    let t = Tensor::new(&[10f32, 300.0, 600.0, 990.0], &device)?;
    let mut losses = Vec::new();
    for step in 0..60 {
        let loss = mse(&network.forward(&x_t, &t, None)?, &noise)?;
        // `optimizer.backward_step(&loss)` does both.
        let gradients = loss.backward()?;
        optimizer.step(&gradients)?;
        losses.push(loss.to_scalar::<f32>()?);
        if step % 10 == 9 {
            println!("step {:2}: loss {:.3}", step + 1, losses[losses.len() - 1]);
        }
    }
    assert!(losses[59] < 0.5 * losses[0], "the loss did not fall: {losses:?}");
    Ok(())
}
