//! Convolutions of the sizes of real networks, in every precision, and what a GPU does when its memory is full.
//!
//! On the device that DDPM_TEST_DEVICE names. On the CPU the images are fewer and smaller, so that the tests themselves
//! are tested.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use candle_core::{DType, Device, Result, Tensor, Var};
use ddpm_ops::{
    ComputeOptions, ConvolutionMethod, ConvolutionUse, FusedConv2d, Norm, Precision, convolution_report, fallbacks,
    recorded,
};
use ddpm_testkit::device;

/// (side of the image, channels in, channels out, side of the kernel) of the convolutions of the presets: the input of
/// a NoiseNet, and the levels of networks with 64 to 1024 channels.
const LAYERS: [(usize, usize, usize, usize); 8] = [
    (32, 3, 64, 7),
    (32, 64, 64, 3),
    (32, 128, 128, 3),
    (16, 128, 256, 3),
    (16, 512, 256, 3),
    (8, 512, 512, 3),
    (4, 1024, 1024, 3),
    (32, 128, 3, 3),
];

/// Deterministic values in [−1, 1] that bf16 represents, so that both sides read the same numbers.
fn values(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((state >> 40) % 257) as f32 - 128.0) / 128.0
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A tensor [a, b, c, d] on the CPU, read by index.
struct Values([usize; 4], Vec<f32>);

impl Values {
    fn of(tensor: &Tensor) -> Self {
        let (a, b, c, d) = tensor.dims4().unwrap();
        let values = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        Self([a, b, c, d], values.to_device(&Device::Cpu).unwrap().to_vec1().unwrap())
    }

    /// The value at these indices, or 0 for a row or column outside of the image.
    fn at(&self, image: usize, channel: usize, row: isize, column: isize) -> f64 {
        let [_, channels, rows, columns] = self.0;
        if row < 0 || column < 0 || row >= rows as isize || column >= columns as isize {
            return 0.0;
        }
        f64::from(self.1[((image * channels + channel) * rows + row as usize) * columns + column as usize])
    }
}

/// Sums terms, and checks a value against the sum: an error of at most `tolerance` of the value, and of `sums` of the
/// root of the sum of squares, to which rounding of sums is proportional.
struct Sum {
    sum: f64,
    squares: f64,
}

impl Sum {
    fn of(terms: impl Iterator<Item = f64>) -> Self {
        terms.fold(Self { sum: 0.0, squares: 0.0 }, |Self { sum, squares }, term| Self {
            sum: sum + term,
            squares: squares + term * term,
        })
    }

    fn check(&self, what: &str, found: f64, tolerance: f64) {
        let error = (found - self.sum).abs();
        let bound = tolerance * (self.sum.abs() + self.squares.sqrt());
        assert!(error <= bound, "{what}: expected {}, found {found}: off by {error:e}, at most {bound:e}", self.sum);
    }
}

/// A few positions of a tensor of these dimensions, corners and edges included.
fn positions(dims: [usize; 4]) -> impl Iterator<Item = [usize; 4]> {
    (0..24usize).map(move |k| {
        let at = |axis: usize| match k {
            0 => 0,
            1 => dims[axis] - 1,
            _ => (k * 7919 + axis * 104_729 + k * k * 31) % dims[axis],
        };
        [at(0), at(1), at(2), at(3)]
    })
}

/// Forward pass and both gradients of a convolution against direct sums in f64 at sampled positions.
fn check_layer((side, channels_in, channels_out, kernel): (usize, usize, usize, usize), precision: Precision) {
    let (device, on_gpu) = (device(), device().is_cuda());
    let (batch, side) = if on_gpu { (128, side) } else { (2, side.min(6)) };
    let x = values(&[batch, channels_in, side, side], 1);
    let weight = values(&[channels_out, channels_in, kernel, kernel], 2);
    let upstream = values(&[batch, channels_out, side, side], 3);
    let var = Var::from_tensor(&weight.to_device(&device).unwrap()).unwrap();
    let input = Var::from_tensor(&x.to_device(&device).unwrap()).unwrap();
    let options = ComputeOptions { precision, ..ComputeOptions::default() };
    let forward = || {
        recorded(&options, &[input.as_tensor()], |tape, x| tape.conv2d(&FusedConv2d::new(&x[0], &var, None)))
            .and_then(|pass| pass.into_tensor())
    };
    let y = forward().unwrap();
    let gradients = y.mul(&upstream.to_device(&device).unwrap()).unwrap().sum_all().unwrap().backward().unwrap();
    let by_x = Values::of(gradients.get(&input).unwrap());
    let by_weight = Values::of(gradients.get(&var).unwrap());
    let (y, x, weight, upstream) = (Values::of(&y), Values::of(&x), Values::of(&weight), Values::of(&upstream));

    // bf16 rounds results to 8 bits, and TF32 factors to 11 bits, which all of these values have.
    let tolerance = if precision == Precision::Bf16 { 1.0 / 256.0 } else { 2e-5 };
    let what = format!("{channels_in} → {channels_out}, {kernel}×{kernel}, {precision}");
    let taps = || (0..kernel).flat_map(|r| (0..kernel).map(move |c| (r, c)));
    let shift = |at: usize, tap: usize| at as isize + tap as isize - (kernel / 2) as isize;
    for [n, o, r, c] in positions(y.0) {
        let terms = (0..channels_in).flat_map(|i| taps().map(move |tap| (i, tap)));
        let terms =
            terms.map(|(i, (u, v))| x.at(n, i, shift(r, u), shift(c, v)) * weight.at(o, i, u as isize, v as isize));
        Sum::of(terms).check(&format!("{what}: forward"), y.at(n, o, r as isize, c as isize), tolerance);
    }
    for [n, i, r, c] in positions(by_x.0) {
        let terms = (0..channels_out).flat_map(|o| taps().map(move |tap| (o, tap)));
        let back = |at: usize, tap: usize| at as isize + (kernel / 2) as isize - tap as isize;
        let terms = terms
            .map(|(o, (u, v))| upstream.at(n, o, back(r, u), back(c, v)) * weight.at(o, i, u as isize, v as isize));
        Sum::of(terms).check(&format!("{what}: input gradient"), by_x.at(n, i, r as isize, c as isize), tolerance);
    }
    for [o, i, u, v] in positions(by_weight.0) {
        let pixels = (0..batch).flat_map(|n| (0..side).flat_map(move |r| (0..side).map(move |c| (n, r, c))));
        let terms =
            pixels.map(|(n, r, c)| upstream.at(n, o, r as isize, c as isize) * x.at(n, i, shift(r, u), shift(c, v)));
        Sum::of(terms).check(
            &format!("{what}: kernel gradient"),
            by_weight.at(o, i, u as isize, v as isize),
            tolerance,
        );
    }
}

#[test]
fn convolutions_of_real_sizes_are_sums() {
    for layer in LAYERS {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            check_layer(layer, precision);
        }
    }
    if device().is_cuda() {
        let composed = |method: &ConvolutionMethod| matches!(method, ConvolutionMethod::Composed(_));
        let composed = |used: &ConvolutionUse| used.shape.batch == 128 && composed(&used.method);
        let composed: Vec<_> = convolution_report().into_iter().filter(composed).collect();
        assert!(composed.is_empty(), "cuDNN did not compute {composed:?}");
        // Another test of this file composes operations in f64.
        let missing: Vec<_> = fallbacks().into_iter().filter(|of| !of.operation.ends_with("f64")).collect();
        assert!(missing.is_empty(), "operations without a kernel: {missing:?}");
    }
}

/// A block in f64, which has no kernels and no cuDNN: it is composed of candle's operations, on every device.
#[test]
fn f64_is_composed_on_every_device() {
    let block = |device: &Device| -> Result<Tensor> {
        let on = |shape: &[usize], seed| values(shape, seed).to_dtype(DType::F64)?.to_device(device);
        let (x, weight, scale, shift) = (on(&[2, 8, 6, 6], 1)?, on(&[8, 8, 3, 3], 2)?, on(&[8], 3)?, on(&[8], 4)?);
        let norm = Norm { groups: 2, eps: 1e-5, weight: &scale, bias: &shift };
        ddpm_ops::fused(&[&x], |tape, x| {
            tape.conv2d(&FusedConv2d { norm: Some(norm), ..FusedConv2d::new(&x[0], &weight, None) })
        })
    };
    let (found, expected) = (block(&device()).unwrap(), block(&Device::Cpu).unwrap());
    ddpm_testkit::assert_close("a block in f64", &found, &expected, 1e-12);
}

/// The bits of output and gradient of a convolution in these precisions, which take turns.
fn in_turns(precisions: &[Precision]) -> Vec<(Precision, Vec<u32>)> {
    let device = device();
    // More bits than TF32 or bf16 keep.
    let x = (values(&[4, 16, 8, 8], 1) * std::f64::consts::FRAC_1_SQRT_2).unwrap().to_device(&device).unwrap();
    let weight = Var::from_tensor(&values(&[32, 16, 3, 3], 2).to_device(&device).unwrap()).unwrap();
    let begin = |precision: &Precision| {
        let options = ComputeOptions { precision: *precision, ..ComputeOptions::default() };
        recorded(&options, &[&x], |tape, x| tape.conv2d(&FusedConv2d::new(&x[0], &weight, None))).unwrap()
    };
    // All forward passes come before all backward passes.
    let passes: Vec<_> = precisions.iter().map(|precision| (*precision, begin(precision))).collect();
    let finish = |(precision, pass): (Precision, ddpm_ops::Recorded)| {
        let output = pass.output();
        let gradient = pass.backward(&output).unwrap().take(&weight).unwrap().to_tensor(&weight).unwrap();
        let bits = |tensor: &Tensor| {
            let values: Vec<f32> = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        (precision, [bits(&output), bits(&gradient)].concat())
    };
    passes.into_iter().map(finish).collect()
}

#[test]
fn precisions_that_take_turns_do_not_affect_each_other() {
    let all = [Precision::Tf32, Precision::F32, Precision::Bf16, Precision::F32, Precision::Tf32];
    for (precision, found) in in_turns(&all) {
        let [(_, ref alone)] = in_turns(&[precision])[..] else { panic!("one result") };
        assert!(found == *alone, "{precision} has other bits beside other precisions");
    }
}

/// After a failed allocation a GPU computes the same as before.
#[test]
fn a_gpu_goes_on_after_its_memory_was_full() {
    let device = device();
    if !device.is_cuda() {
        // The allocator of the CPU ends the process instead.
        return;
    }
    let before = in_turns(&[Precision::Bf16]);
    let four_tib = Tensor::zeros((1 << 20, 1 << 20), DType::F32, &device);
    let error = four_tib.expect_err("more memory than any GPU has").to_string();
    assert!(error.contains("OUT_OF_MEMORY") || error.contains("out of memory"), "{error}");
    // Nearly all memory is taken, so that the next convolution has little for its workspace.
    let mut held = Vec::new();
    for bytes in [1usize << 30, 1 << 27, 1 << 24] {
        while let Ok(tensor) = Tensor::zeros(bytes / 4, DType::F32, &device) {
            held.push(tensor);
        }
    }
    let full = Tensor::zeros(1 << 26, DType::F32, &device);
    assert!(full.is_err(), "expected a full memory");
    drop(held);
    assert_eq!(in_turns(&[Precision::Bf16]), before);
}
