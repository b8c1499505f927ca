//! Prints the sampling noise of images as JSON, for comparison with programs in other languages.
//!
//! Each line is one draw, a list of images. The first draw is x_T.
//!
//! `cargo run -p ddpm-rng --example sampling_noise -- SEED IMAGES DRAWS AXIS…`, for example `3 2 20 1 3 5` for 20 draws
//! of 2 images of shape [1, 3, 5].

use candle_core::Device;
use ddpm_rng::{ImageNoise, Purpose};

#[expect(clippy::print_stdout, reason = "printing is the purpose of the example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [seed, images, draws, axes @ ..] = &numbers[..] else {
        return Err("expected SEED IMAGES DRAWS AXIS…".into());
    };
    let shape: Vec<usize> = axes.iter().map(|axis| *axis as usize).collect();
    let mut noise = ImageNoise::new(*seed, Purpose::SamplingNoise, 0, *images as usize);
    for _ in 0..*draws {
        println!("{:?}", noise.draw(&shape, &Device::Cpu)?.flatten_from(1)?.to_vec2::<f32>()?);
    }
    Ok(())
}
