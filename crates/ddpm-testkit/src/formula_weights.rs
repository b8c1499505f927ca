//! Random weights and images that a formula gives, in Rust and in Python (`tests/golden/formula_weights.py`).

use candle_core::{Device, Tensor};

/// `count` numbers in [0, 1), multiples of 2⁻²⁴: SplitMix64 (Steele et al. 2014), seeded with the FNV-1a hash of
/// `name`.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    (1..=count as u64).map(move |i| {
        let mixed = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f64 / 16_777_216.0
    })
}

/// The tensor of this name and shape.
///
/// # Panics
/// If candle cannot create it.
pub fn formula_tensor(name: &str, shape: &[usize]) -> Tensor {
    let (low, high) = limits(name, shape);
    let values: Vec<f32> =
        uniform(name, shape.iter().product()).map(|value| (low + value * (high - low)) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape says")
}

/// The range of a tensor: matrices and kernels keep the variance of a ReLU network, others differ from 0 and 1.
fn limits(name: &str, shape: &[usize]) -> (f64, f64) {
    if name.ends_with("running_var") {
        (0.5, 1.5)
    } else if shape.len() > 1 {
        let limit = (6.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
        (-limit, limit)
    } else if name.ends_with("weight") || name.contains("lambda") || name.contains("gamma") {
        (0.5, 1.5)
    } else {
        (-0.2, 0.2)
    }
}

/// Images [count, 3, height, width] of 8-bit values: smooth patterns with some noise.
///
/// # Panics
/// If candle cannot create the tensor.
pub fn formula_images(count: usize, height: usize, width: usize) -> Tensor {
    let mut noise = uniform("images", count * 3 * height * width);
    let mut values = Vec::new();
    for i in 0..count {
        for color in 0..3 {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let slope = (x * (i + 1 + color) + y * (2 + 3 * i + color)) % 97;
                let noise = noise.next().expect("one number for each value");
                values.push((2.0 * slope as f64 + 60.0 * noise).floor() as f32);
            }
        }
    }
    Tensor::from_vec(values, (count, 3, height, width), &Device::Cpu).expect("as many values as the shape says")
}
