//! Compares values and gradients of every fused operation with the composed operation in f64, over many shapes, and the
//! gradients with finite differences.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use candle_core::{DType, Device, Result, Tensor, Var};
use ddpm_ops::{FusedConv2d, Norm, Rearrange, Resample, composed};
use ddpm_testkit::assert_close;
use proptest::prelude::*;

/// f32 arithmetic over sums of up to a few thousand terms, against f64: rounding grows with √terms · 6e-8.
const TOLERANCE: f64 = 2e-5;
/// On a GPU sums are in another order, and exponentials have larger errors.
const TOLERANCE_OF_GPU: f64 = 1e-4;

/// Deterministic values in [−1.5, 1.5], different at every position.
fn values(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 1.5
    };
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|_| next()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Compares the value of f and the gradients of Σ upstream · f(inputs) between the fused and the composed f.
fn check(
    what: &str,
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let run = |dtype: DType, device: &Device, f: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
        let var = |t: &Tensor| Var::from_tensor(&t.to_device(device).unwrap().to_dtype(dtype).unwrap()).unwrap();
        let vars: Vec<Var> = inputs.iter().map(var).collect();
        let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let out = f(&tensors).unwrap();
        let upstream = values(out.dims(), 99).to_device(device).unwrap().to_dtype(dtype).unwrap();
        let grads = out.mul(&upstream).unwrap().sum_all().unwrap().backward().unwrap();
        let grads: Vec<Tensor> = tensors.iter().map(|t| grads.get(t).unwrap().clone()).collect();
        (out, grads)
    };
    let device = ddpm_testkit::device();
    let own_tolerance = if device.is_cpu() { TOLERANCE } else { TOLERANCE_OF_GPU };
    let (out, grads) = run(DType::F32, &device, &fused);
    let (expected, expected_grads) = run(DType::F64, &Device::Cpu, &reference);
    // In f64 on the CPU the device backend computes the fused operations.
    let (wide, wide_grads) = run(DType::F64, &Device::Cpu, &fused);
    assert_close(&format!("{what} in f64"), &wide, &expected, 1e-11);
    assert_close(what, &out, &expected, own_tolerance);
    // Some gradients, such as that of a bias before a normalization, are zero up to rounding: sums of up to 720 terms
    // that cancel, whose error in f32 is about √720 · 6e-8 of a term. Errors of a gradient that is smaller than a tenth
    // of the largest one are therefore measured relative to the largest one.
    let scale = |t: &Tensor| {
        let largest = t.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        largest.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap()
    };
    let largest = expected_grads.iter().map(scale).fold(0.0, f64::max);
    for (i, (grad, expected)) in grads.iter().zip(&expected_grads).enumerate() {
        let tolerance = own_tolerance * (1e-1 * largest / scale(expected).max(1e-300)).max(1.0);
        assert_close(&format!("{what}: gradient {i}"), grad, expected, tolerance);
        let tolerance = 1e-11 * (1e-2 * largest / scale(expected).max(1e-300)).max(1.0);
        assert_close(&format!("{what} in f64: gradient {i}"), &wide_grads[i], expected, tolerance);
    }
    // A second call gives the same bits.
    let again = run(DType::F32, &device, &fused);
    let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(bits(&out), bits(&again.0));
    for (a, b) in grads.iter().zip(&again.1) {
        assert_eq!(bits(a), bits(b));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conv2d(batch in 1usize..7, cin in 1usize..9, cout in 1usize..9, h in 1usize..19, w in 1usize..19,
              half in 0usize..4, bias: bool, seed: u64) {
        let kernel = 2 * half + 1;
        let mut inputs = vec![values(&[batch, cin, h, w], seed), values(&[cout, cin, kernel, kernel], seed ^ 1)];
        if bias {
            inputs.push(values(&[cout], seed ^ 2));
        }
        check("conv2d", &inputs, |t| ddpm_ops::conv2d(&t[0], &t[1], t.get(2)), |t| {
            composed::conv2d(&t[0], &t[1], t.get(2), half)
        });
    }

    // Groups have at least 8 elements: with fewer the variance can be tiny, and f32 loses more than the tolerance in x
    // − μ.
    #[test]
    fn group_norm(batch in 1usize..5, groups in 1usize..5, width in 1usize..4, h in 2usize..12, w in 4usize..12,
                  silu: bool, seed: u64) {
        let channels = groups * width;
        let inputs =
            [values(&[batch, channels, h, w], seed), values(&[channels], seed ^ 1), values(&[channels], seed ^ 2)];
        check("group_norm", &inputs, |t| {
            let f = if silu { ddpm_ops::group_norm_silu } else { ddpm_ops::group_norm };
            f(&t[0], groups, &t[1], &t[2], 1e-3)
        }, |t| {
            let out = composed::group_norm(&t[0], groups, &t[1], &t[2], 1e-3)?;
            if silu { out.silu() } else { Ok(out) }
        });
    }

    #[test]
    fn attention(batch in 1usize..4, heads in 1usize..4, d in 1usize..9, positions in 1usize..40, seed: u64) {
        let inputs = [values(&[batch, 3 * heads * d, positions], seed)];
        check("attention", &inputs, |t| ddpm_ops::attention(&t[0], heads), |t| composed::attention(&t[0], heads));
    }

    /// A convolution with every combination of the operations around it, for sizes that no tile divides.
    #[test]
    fn fused_convolution(
        batch in 1usize..6, groups in 1usize..4, width in 1usize..14, first in 1usize..40, second in 0usize..36,
        (h, w) in (1usize..10, 1usize..18), half in 0usize..2,
        (added, norm, residual, image_bias) in any::<(bool, bool, bool, bool)>(), choice in 0usize..3, seed: u64,
    ) {
        let arrange = [Rearrange::AsIs, Rearrange::UpsampleNearest2x, Rearrange::PixelUnshuffle2x][choice];
        let even = arrange == Rearrange::PixelUnshuffle2x;
        let (h, w) = if even { (2 * h.div_ceil(2), 2 * w.div_ceil(2)) } else { (h, w) };
        let (times, out_h, out_w) = [(1, h, w), (1, 2 * h, 2 * w), (4, h / 2, w / 2)][choice];
        let (channels, out) = (first + second, groups * width);
        let side = 2 * half + 1;
        let mut shapes = vec![vec![batch, first, h, w], vec![out, times * channels, side, side], vec![out]];
        let mut optional = |wanted: bool, shape: &[usize]| wanted.then(|| {
            shapes.push(shape.to_vec());
            shapes.len() - 1
        });
        let skip = optional(second > 0, &[batch, second, h, w]);
        let added = optional(added, &[batch, channels]);
        let image_bias = optional(image_bias, &[batch, out]);
        let residual = optional(residual, &[batch, out, out_h, out_w]);
        // A group of a few elements may have a variance that is tiny beside its mean, and f32 then loses too many bits.
        let norm = norm && width * out_h * out_w >= 48;
        let scale = optional(norm, &[out]);
        let shift = optional(norm, &[out]);
        let inputs: Vec<Tensor> = shapes.iter().enumerate().map(|(i, shape)| values(shape, seed ^ i as u64)).collect();
        check("fused convolution", &inputs, |t| {
            let given = [Some(0), skip, added, image_bias, residual].into_iter().flatten();
            let given: Vec<&Tensor> = given.map(|i| &t[i]).collect();
            ddpm_ops::fused(&given, |tape, values| {
                let mut rest = values[1..].iter();
                let mut next = |given: Option<usize>| given.and_then(|_| rest.next());
                let (skip, added, image_bias) = (next(skip), next(added), next(image_bias));
                let residual = next(residual);
                let norm = scale.zip(shift);
                let norm =
                    norm.map(|(scale, shift)| Norm { groups, weight: &t[scale], bias: &t[shift], eps: 1e-3 });
                let plain = FusedConv2d::new(&values[0], &t[1], Some(&t[2]));
                tape.conv2d(&FusedConv2d { skip, added, image_bias, arrange, norm, residual, ..plain })
            })
        }, |t| {
            let mut x = match skip { Some(i) => Tensor::cat(&[&t[0], &t[i]], 1)?, None => t[0].clone() };
            if let Some(i) = added { x = composed::add_per_channel(&x, &t[i])?; }
            x = match arrange {
                Rearrange::UpsampleNearest2x => composed::upsample_nearest_2x(&x)?,
                Rearrange::PixelUnshuffle2x => composed::pixel_unshuffle_2x(&x)?,
                _ => x,
            };
            x = composed::conv2d(&x, &t[1], Some(&t[2]), half)?;
            if let Some(i) = image_bias { x = composed::add_per_channel(&x, &t[i])?; }
            if let (Some(scale), Some(shift)) = (scale, shift) {
                x = composed::group_norm(&x, groups, &t[scale], &t[shift], 1e-3)?.silu()?;
            }
            match residual { Some(i) => x + &t[i], None => Ok(x) }
        });
    }

    /// A 1 × 1 kernel is a matrix, and may be given with two axes.
    #[test]
    fn a_kernel_of_one_pixel_may_be_a_matrix(
        batch in 1usize..4, cin in 1usize..20, cout in 1usize..20, side in 1usize..6, seed: u64,
    ) {
        let inputs =
            [values(&[batch, cin, side, side], seed), values(&[cout, cin], seed ^ 1), values(&[cout], seed ^ 2)];
        check("matrix", &inputs, |t| ddpm_ops::conv2d(&t[0], &t[1], Some(&t[2])), |t| {
            composed::conv2d(&t[0], &t[1].reshape((cout, cin, 1, 1))?, Some(&t[2]), 0)
        });
    }

    #[test]
    fn concat_and_resample(
        batch in 1usize..4, (a, b) in (1usize..5, 1usize..5), (h, w) in (1usize..5, 1usize..5), choice in 0usize..4,
        seed: u64,
    ) {
        let resample = [Resample::Even, Resample::Odd, Resample::Mean, Resample::Nearest][choice];
        let inputs = [values(&[batch, a, 2 * h, 2 * w], seed), values(&[batch, b, 2 * h, 2 * w], seed ^ 1)];
        check("concat and resample", &inputs, |t| ddpm_ops::fused(&[&t[0], &t[1]], |tape, values| {
            tape.resample(&tape.concat(&[&values[0], &values[1], &values[0]])?, resample)
        }), |t| {
            let x = Tensor::cat(&[&t[0], &t[1], &t[0]], 1)?;
            match resample {
                Resample::Even => composed::every_second(&x, 0),
                Resample::Odd => composed::every_second(&x, 1),
                Resample::Mean => composed::mean_2x(&x),
                Resample::Nearest => composed::upsample_nearest_2x(&x),
            }
        });
    }

    #[test]
    fn modulate_add_and_affine(batch in 1usize..4, channels in 1usize..6, positions in 1usize..100, seed: u64) {
        let x: &[usize] = &[batch, channels, positions];
        let shapes = [x, &[batch, 2 * channels], x];
        let inputs: Vec<Tensor> = (0..).zip(shapes).map(|(i, shape)| values(shape, seed ^ i)).collect();
        check("modulate", &inputs, |t| ddpm_ops::fused(&[&t[0], &t[1], &t[2]], |tape, values| {
            let x = tape.modulate(&values[0], &values[1])?;
            tape.affine(&tape.add(&x, &values[2])?, -0.7, 0.3)
        }), |t| (composed::modulate(&t[0], &t[1])? + &t[2])?.affine(-0.7, 0.3));
    }

    #[test]
    fn embedding(rows in 1usize..6, features in 1usize..9, images in 1usize..9, seed: u64) {
        let chosen: Vec<usize> = (0..images).map(|i| (seed as usize).wrapping_add(i * i) % rows).collect();
        // The embedding is added to an input, because a forward pass needs one.
        let inputs = [values(&[images, features], seed ^ 1), values(&[rows, features], seed)];
        check("embedding", &inputs, |t| ddpm_ops::fused(&[&t[0]], |tape, values| {
            tape.add(&values[0], &tape.embedding(&t[1], &chosen)?)
        }), |t| {
            let chosen: Vec<u32> = chosen.iter().map(|row| *row as u32).collect();
            &t[0] + t[1].index_select(&Tensor::new(chosen, &Device::Cpu)?, 0)?
        });
    }

    #[test]
    fn linear_and_activations(
        batch in 1usize..7, from in 1usize..20, to in 1usize..20, choice in 0usize..4, seed: u64,
    ) {
        let inputs = [values(&[batch, from], seed), values(&[to, from], seed ^ 1), values(&[to], seed ^ 2)];
        check("linear", &inputs, |t| ddpm_ops::fused(&[&t[0]], |tape, values| {
            let hidden = tape.linear(&values[0], &t[1], &t[2])?;
            match choice {
                0 => tape.silu(&hidden),
                1 => tape.gelu(&hidden),
                2 => tape.mish(&hidden),
                _ => tape.relu(&hidden),
            }
        }), |t| {
            let hidden = t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])?;
            match choice {
                0 => hidden.silu(),
                // Not gelu_erf: candle's gradient of it rounds the constant 1/√(2π) to six digits.
                1 => (&hidden * ((&hidden * std::f64::consts::FRAC_1_SQRT_2)?.erf()? + 1.0)?)? * 0.5,
                2 => composed::mish(&hidden),
                _ => hidden.relu(),
            }
        });
    }

    #[test]
    fn masks_and_values_used_twice(batch in 1usize..5, features in 1usize..9, seed: u64) {
        let weight = values(&[features, features], seed ^ 1);
        let inputs = [values(&[batch, features], seed), weight, values(&[features], seed ^ 2)];
        let mask: Vec<f32> = (0..batch * features).map(|i| (i % 3) as f32).collect();
        check("mask", &inputs, |t| ddpm_ops::fused(&[&t[0]], |tape, values| {
            // The value, the weight and the bias each reach the result twice.
            let once = tape.mask(&tape.linear(&values[0], &t[1], &t[2])?, mask.clone())?;
            tape.linear(&once, &t[1], &t[2])
        }), |t| {
            let linear = |x: &Tensor| x.matmul(&t[1].t()?)?.broadcast_add(&t[2]);
            let mask = Tensor::from_vec(mask.clone(), t[0].shape(), &Device::Cpu)?.to_dtype(t[0].dtype())?;
            linear(&linear(&t[0])?.mul(&mask)?)
        });
    }

    #[test]
    fn rearrangements_move_values_and_gradients(
        batch in 1usize..4, c in 1usize..4, h in 1usize..6, w in 1usize..6, seed: u64,
    ) {
        let x = Var::from_tensor(&values(&[batch, c, 2 * h, 2 * w], seed)).unwrap();
        // Unshuffling keeps every value once and upsampling four times, so the gradients of the sums of squares are 2x
        // and 8x.
        let unshuffled = composed::pixel_unshuffle_2x(&x).unwrap();
        let upsampled = composed::upsample_nearest_2x(&x).unwrap();
        for (out, copies) in [(unshuffled, 1.0), (upsampled, 4.0)] {
            let grads = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let expected = (x.as_tensor() * (2.0 * copies)).unwrap();
            assert_close("gradient", grads.get(&x).unwrap(), &expected, 1e-6);
        }
    }
}

/// (f(x + δ) − f(x − δ)) / 2δ along random directions, in f64 on the composed operations and in f32 on the fused ones:
/// the fused gradient must predict the change.
#[test]
fn gradients_predict_finite_differences() {
    type Case = (&'static str, Vec<Tensor>, Box<dyn Fn(&[Tensor]) -> Result<Tensor>>);
    let cases: Vec<Case> = vec![
        (
            "conv2d",
            vec![values(&[2, 3, 5, 4], 1), values(&[4, 3, 3, 3], 2), values(&[4], 3)],
            Box::new(|t| ddpm_ops::conv2d(&t[0], &t[1], Some(&t[2]))),
        ),
        (
            "group_norm_silu",
            vec![values(&[2, 4, 5, 3], 1), values(&[4], 2), values(&[4], 3)],
            Box::new(|t| ddpm_ops::group_norm_silu(&t[0], 2, &t[1], &t[2], 1e-5)),
        ),
        ("attention", vec![values(&[2, 12, 7], 1)], Box::new(|t| ddpm_ops::attention(&t[0], 2))),
    ];
    for (what, inputs, f) in cases {
        let upstream = values(f(&inputs).unwrap().dims(), 7);
        let objective = |inputs: &[Tensor]| -> Tensor { f(inputs).unwrap().mul(&upstream).unwrap().sum_all().unwrap() };
        let value = |inputs: &[Tensor]| f64::from(objective(inputs).to_scalar::<f32>().unwrap());
        let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
        let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let grads = objective(&tensors).backward().unwrap();
        for i in 0..inputs.len() {
            let direction = values(inputs[i].dims(), 11 + i as u64);
            // Rounding in f32 costs 1e-7 · |f| / δ and curvature δ²: both below a few 1e-3 of the slope here.
            let delta = 1e-2;
            let moved = |sign: f64| {
                let mut inputs = inputs.clone();
                inputs[i] = (&inputs[i] + (&direction * (sign * delta)).unwrap()).unwrap();
                value(&inputs)
            };
            let slope = (moved(1.0) - moved(-1.0)) / (2.0 * delta);
            let grad = grads.get(&tensors[i]).unwrap();
            let predicted = f64::from(grad.mul(&direction).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
            let scale = slope.abs().max(1.0);
            assert!((slope - predicted).abs() < 1e-2 * scale, "{what}, input {i}: slope {slope}, gradient {predicted}");
        }
    }
}

/// A result of one pixel is a contiguous view of its input on the device backend.
#[test]
fn the_smallest_images_are_resampled() {
    for (how, reference) in [
        (Resample::Even, (|x| composed::every_second(x, 0)) as fn(&Tensor) -> Result<Tensor>),
        (Resample::Odd, |x| composed::every_second(x, 1)),
        (Resample::Mean, composed::mean_2x),
        (Resample::Nearest, composed::upsample_nearest_2x),
    ] {
        let resample = |t: &[Tensor]| ddpm_ops::fused(&[&t[0]], |tape, values| tape.resample(&values[0], how));
        check("resample", &[values(&[1, 3, 2, 2], 5)], resample, |t| reference(&t[0]));
    }
}

#[test]
fn pixel_unshuffle_orders_channels_as_the_article_does() {
    let x = Tensor::arange(0f32, 16.0, &Device::Cpu).unwrap().reshape((1, 1, 4, 4)).unwrap();
    let out = composed::pixel_unshuffle_2x(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(out, [0., 2., 8., 10., 1., 3., 9., 11., 4., 6., 12., 14., 5., 7., 13., 15.]);
}

#[test]
fn views_are_read_through_their_strides() {
    let x = values(&[3, 5, 4, 2], 1);
    let view = x.transpose(1, 3).unwrap();
    let weight = values(&[3, 2, 3, 3], 2);
    let seen = ddpm_ops::conv2d(&view, &weight, None).unwrap();
    let copied = ddpm_ops::conv2d(&view.copy().unwrap().contiguous().unwrap(), &weight, None).unwrap();
    assert_close("transposed", &seen, &copied, 0.0);
    let narrowed = x.narrow(0, 1, 2).unwrap();
    let copied = ddpm_ops::group_norm(&narrowed.copy().unwrap(), 1, &values(&[5], 3), &values(&[5], 4), 1e-5).unwrap();
    assert_close(
        "narrowed",
        &ddpm_ops::group_norm(&narrowed, 1, &values(&[5], 3), &values(&[5], 4), 1e-5).unwrap(),
        &copied,
        0.0,
    );
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let x = values(&[2, 4, 3, 3], 1);
    let conv = |weight: &[usize]| ddpm_ops::conv2d(&x, &values(weight, 2), None).is_err();
    assert!(conv(&[1, 3, 3, 3]) && conv(&[1, 4, 3, 1]) && conv(&[1, 4, 2, 2]) && conv(&[4, 3, 3]));
    let bias = |n| ddpm_ops::conv2d(&x, &values(&[2, 4, 1, 1], 2), Some(&values(&[n], 3)));
    assert!(bias(3).is_err() && bias(2).is_ok());
    let norm = |groups, n| ddpm_ops::group_norm(&x, groups, &values(&[n], 2), &values(&[n], 3), 1e-5);
    assert!(norm(3, 4).is_err() && norm(0, 4).is_err() && norm(2, 3).is_err() && norm(4, 4).is_ok());
    let qkv = values(&[1, 12, 4], 4);
    assert!(ddpm_ops::attention(&qkv, 0).is_err() && ddpm_ops::attention(&qkv, 5).is_err());
    let conv_with = |change: &dyn Fn(&mut FusedConv2d<'_>)| {
        let weight = values(&[2, 4, 1, 1], 2);
        ddpm_ops::fused(&[&x], |tape, given| {
            let mut conv = FusedConv2d::new(&given[0], &weight, None);
            change(&mut conv);
            tape.conv2d(&conv)
        })
    };
    assert!(conv_with(&|_| ()).is_ok());
    assert!(conv_with(&|conv| conv.arrange = Rearrange::PixelUnshuffle2x).is_err());
    assert!(conv_with(&|conv| conv.skip = Some(conv.input)).is_err());
    assert!(conv_with(&|conv| conv.added = Some(conv.input)).is_err());
    assert!(conv_with(&|conv| conv.residual = Some(conv.input)).is_err());
}

#[test]
fn a_value_of_another_backend_is_an_error() {
    let (narrow, wide) = (values(&[2, 3], 1), values(&[2, 3], 1).to_dtype(DType::F64).unwrap());
    let mut of_f64 = None;
    ddpm_ops::fused(&[&wide], |tape, given| {
        of_f64 = Some(given[0].clone());
        tape.relu(&given[0])
    })
    .unwrap();
    let mixed = ddpm_ops::fused(&[&narrow], |tape, given| tape.add(&given[0], of_f64.as_ref().unwrap()));
    assert!(mixed.is_err());
}

#[test]
fn empty_batches_stay_empty() {
    let x = Tensor::zeros((0, 4, 3, 3), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(ddpm_ops::conv2d(&x, &values(&[2, 4, 3, 3], 1), None).unwrap().dims(), [0, 2, 3, 3]);
    assert_eq!(ddpm_ops::group_norm(&x, 2, &values(&[4], 1), &values(&[4], 2), 1e-5).unwrap().dims(), [0, 4, 3, 3]);
}
