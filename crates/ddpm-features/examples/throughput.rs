//! Measures the time to compute features, for `benches/features_vs_pytorch.py`.
//!
//! Arguments: network, height and width of the images, images, file of weights. For each line on the standard input,
//! which is ignored, the program computes the features of that many images once and prints the seconds.

#![allow(clippy::print_stdout, reason = "the time is the result")]

use std::io::BufRead;
use std::time::Instant;

use candle_core::{Device, Tensor};
use ddpm_features::{NetworkKind, load};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, size, count, weights] = &arguments[..] else {
        return Err("expected: NETWORK SIZE IMAGES WEIGHTS".into());
    };
    let (kind, size, count): (NetworkKind, usize, usize) = (kind.parse()?, size.parse()?, count.parse()?);
    let network = load(weights, kind, kind.preprocessing(), &Device::Cpu)?;
    let values: Vec<f32> = (0..count * 3 * size * size).map(|i| (i * 7919 % 256) as f32).collect();
    let images = Tensor::from_vec(values, (count, 3, size, size), &Device::Cpu)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        network.features(&images)?;
        println!("{}", start.elapsed().as_secs_f64());
    }
    Ok(())
}
