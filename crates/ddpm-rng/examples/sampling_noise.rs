//! Prints the sampling noise of images, or the noise of inpainting or of an evaluation, as JSON, for comparison with
//! programs in other languages.
//!
//! Each line is one draw, a list of images. The first draw is x_T.
//!
//! `cargo run -p ddpm-rng --example sampling_noise -- [inpainting|evaluation] SEED IMAGES DRAWS AXIS…`, for example
//! `3 2 20 1 3 5` for 20 draws of 2 images of shape [1, 3, 5].

use candle_core::Device;
use ddpm_rng::{ImageNoise, Purpose};

#[expect(clippy::print_stdout, reason = "printing is the purpose of the example")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1).peekable();
    let purpose = match words.next_if(|word| ["inpainting", "evaluation"].contains(&word.as_str())).as_deref() {
        Some("inpainting") => Purpose::InpaintingNoise,
        Some(_) => Purpose::Evaluation,
        None => Purpose::SamplingNoise,
    };
    let numbers: Vec<u64> = words.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [seed, images, draws, axes @ ..] = &numbers[..] else {
        return Err("expected [inpainting|evaluation] SEED IMAGES DRAWS AXIS…".into());
    };
    let shape: Vec<usize> = axes.iter().map(|axis| *axis as usize).collect();
    let mut noise = ImageNoise::new(*seed, purpose, 0, *images as usize);
    for _ in 0..*draws {
        println!("{:?}", noise.draw(&shape, &Device::Cpu)?.flatten_from(1)?.to_vec2::<f32>()?);
    }
    Ok(())
}
