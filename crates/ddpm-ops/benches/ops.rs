//! Each operation at the shapes that the presets have: `cargo bench -p ddpm-ops`.
//!
//! The column "item/s" counts floating-point operations of the direct algorithm, forward and backward where both are
//! timed, so that "Gitem/s" reads as GFLOP/s; for element-wise operations it counts elements.

use candle_core::{Device, Tensor, Var};
use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Deterministic values in [−1, 1], different at every position.
fn values(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values = (0..n).map(|i| ((i * 7919) % 20_011) as f32 / 10_000.0 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape holds")
}

fn variable(shape: &[usize]) -> Var {
    Var::from_tensor(&values(shape)).expect("on the CPU")
}

/// Batch, input channels, output channels, height and width, side of the kernel.
type Shape = (usize, usize, usize, usize, usize);

/// Shapes of the presets `digits` (the first), `mnist` (the second) and `cifar10`.
const CONVOLUTIONS: [Shape; 8] = [
    (128, 32, 32, 8, 3),
    (64, 32, 32, 32, 3),
    (32, 64, 64, 32, 3),
    (32, 128, 128, 16, 3),
    (32, 256, 256, 8, 3),
    (32, 512, 512, 4, 3),
    (32, 64, 384, 16, 1),
    (32, 3, 64, 32, 7),
];

fn flops((batch, channels_in, channels_out, size, kernel): Shape) -> usize {
    2 * batch * channels_in * channels_out * size * size * kernel * kernel
}

#[divan::bench(args = CONVOLUTIONS)]
fn convolution(bencher: Bencher, shape: Shape) {
    let (batch, channels_in, channels_out, size, kernel) = shape;
    let x = values(&[batch, channels_in, size, size]);
    let weight = values(&[channels_out, channels_in, kernel, kernel]);
    let bias = values(&[channels_out]);
    bencher.counter(ItemsCount::new(flops(shape))).bench(|| ddpm_ops::conv2d(&x, &weight, Some(&bias)));
}

#[divan::bench(args = CONVOLUTIONS)]
fn convolution_and_gradients(bencher: Bencher, shape: Shape) {
    let (batch, channels_in, channels_out, size, kernel) = shape;
    let x = variable(&[batch, channels_in, size, size]);
    let weight = variable(&[channels_out, channels_in, kernel, kernel]);
    let bias = variable(&[channels_out]);
    bencher.counter(ItemsCount::new(3 * flops(shape))).bench(|| {
        let out = ddpm_ops::conv2d(&x, &weight, Some(&bias)).expect("shapes that fit");
        out.sum_all().and_then(|sum| sum.backward()).expect("a gradient")
    });
}

/// Batch, channels, height and width in `mnist` and `cifar10`, with four groups.
const NORMALIZATIONS: [(usize, usize, usize); 3] = [(64, 32, 32), (32, 64, 32), (32, 512, 4)];

#[divan::bench(args = NORMALIZATIONS)]
fn group_norm_silu(bencher: Bencher, (batch, channels, size): (usize, usize, usize)) {
    let x = values(&[batch, channels, size, size]);
    let (weight, bias) = (values(&[channels]), values(&[channels]));
    bencher.counter(ItemsCount::new(x.elem_count())).bench(|| ddpm_ops::group_norm_silu(&x, 4, &weight, &bias, 1e-5));
}

#[divan::bench(args = NORMALIZATIONS)]
fn group_norm_silu_and_gradients(bencher: Bencher, (batch, channels, size): (usize, usize, usize)) {
    let x = variable(&[batch, channels, size, size]);
    let (weight, bias) = (variable(&[channels]), variable(&[channels]));
    bencher.counter(ItemsCount::new(x.elem_count())).bench(|| {
        let out = ddpm_ops::group_norm_silu(&x, 4, &weight, &bias, 1e-5).expect("shapes that fit");
        out.sum_all().and_then(|sum| sum.backward()).expect("a gradient")
    });
}

/// Batch and positions, with four heads of 32 channels.
const ATTENTIONS: [(usize, usize); 3] = [(128, 64), (64, 256), (32, 64)];

#[divan::bench(args = ATTENTIONS)]
fn attention(bencher: Bencher, (batch, positions): (usize, usize)) {
    let qkv = values(&[batch, 3 * 4 * 32, positions]);
    let flops = 2 * 2 * batch * 4 * 32 * positions * positions;
    bencher.counter(ItemsCount::new(flops)).bench(|| ddpm_ops::attention(&qkv, 4));
}

#[divan::bench(args = ATTENTIONS)]
fn attention_and_gradients(bencher: Bencher, (batch, positions): (usize, usize)) {
    let qkv = variable(&[batch, 3 * 4 * 32, positions]);
    let flops = 7 * 2 * batch * 4 * 32 * positions * positions;
    bencher.counter(ItemsCount::new(flops)).bench(|| {
        let out = ddpm_ops::attention(&qkv, 4).expect("shapes that fit");
        out.sum_all().and_then(|sum| sum.backward()).expect("a gradient")
    });
}

/// The fully connected layer of a residual block of `cifar10`, and SiLU.
#[divan::bench]
fn linear_silu_and_gradients(bencher: Bencher) {
    let (batch, from, to) = (32, 256, 512);
    let (x, weight, bias) = (variable(&[batch, from]), variable(&[to, from]), variable(&[to]));
    bencher.counter(ItemsCount::new(3 * 2 * batch * from * to)).bench(|| {
        let out = ddpm_ops::fused(&[&x], |tape, v| tape.silu(&tape.linear(&v[0], &weight, &bias)?));
        out.and_then(|out| out.sum_all()?.backward()).expect("a gradient")
    });
}

/// Operations between the convolutions of the DDPM network: concatenation, scale-shift by the timestep, downsampling.
#[divan::bench]
fn concat_resample_modulate_and_gradients(bencher: Bencher) {
    let (x, time) = (variable(&[32, 64, 32, 32]), variable(&[32, 2 * 128]));
    bencher.counter(ItemsCount::new(2 * x.elem_count())).bench(|| {
        let out = ddpm_ops::fused(&[&x, &time], |tape, v| {
            let joined = tape.concat(&[&v[0], &v[0]])?;
            tape.resample(&tape.modulate(&joined, &v[1])?, ddpm_ops::Resample::Mean)
        });
        out.and_then(|out| out.sum_all()?.backward()).expect("a gradient")
    });
}

#[divan::bench]
fn adam_and_average(bencher: Bencher) {
    let shape = [4_000_000];
    let [parameter, moment1, moment2, average] = [(); 4].map(|()| variable(&shape));
    let gradient = ddpm_ops::Gradient::from(values(&shape));
    let step = ddpm_ops::AdamStep {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        learning_rate: 1e-6,
        bias_correction1: 0.1,
        bias_correction2: 0.001,
        gradient_scale: 1.0,
        coupled_weight_decay: 0.0,
        decoupled_weight_decay: 0.0,
    };
    bencher.counter(ItemsCount::new(shape[0])).bench_local(|| {
        let update =
            ddpm_ops::AdamUpdate { parameter: &parameter, moment1: &moment1, moment2: &moment2, gradient: &gradient };
        ddpm_ops::adam_step(&[update], step).expect("shapes that fit");
        ddpm_ops::ema_step(&[(&average, &parameter)], 0.999).expect("shapes that fit");
    });
}
