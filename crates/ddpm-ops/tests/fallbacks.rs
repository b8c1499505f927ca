//! Operations that a GPU composes of slower ones are counted, and no others are.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use candle_core::{DType, Device, Tensor};
use ddpm_ops::{FusedConv2d, Norm, fallbacks, fused};

/// The environment variable that makes the CPU emulate a GPU.
const EMULATE: &str = "DDPM_EMULATE_CUDA";

/// silu(norm(conv(x))) with a 3 × 3 kernel, as often as given.
fn convolve(dtype: DType, times: usize) {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let (weight, vector) = (zeros(&[4, 4, 3, 3]), zeros(&[4]));
    let norm = Norm { groups: 2, weight: &vector, bias: &vector, eps: 1e-5 };
    for _ in 0..times {
        fused(&[&zeros(&[2, 4, 8, 8])], |tape, x| {
            tape.conv2d(&FusedConv2d { norm: Some(norm), ..FusedConv2d::new(&x[0], &weight, Some(&vector)) })
        })
        .unwrap();
    }
}

/// There is no cuDNN on the CPU, and there is a kernel for everything else.
#[test]
fn a_gpu_counts_the_convolutions_that_cudnn_does_not_compute() {
    if std::env::var_os(EMULATE).is_none() {
        // On the CPU itself, the same operations are the usual ones.
        convolve(DType::F64, 1);
        assert_eq!(fallbacks(), []);
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        assert!(again.env(EMULATE, "1").status().unwrap().success());
        return;
    }
    convolve(DType::F32, 3);
    let found = fallbacks();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].calls, 3);
    assert_eq!(found[0].operation, "the forward pass of a convolution of 2 images of 8×8, 4 → 4 channels, 3×3 in f32");
    assert!(found[0].reason.contains("without cuDNN"), "{found:?}");

    // No kernel supports f64 on a GPU.
    convolve(DType::F64, 1);
    let operations: Vec<String> = fallbacks().into_iter().map(|fallback| fallback.operation).collect();
    assert!(operations.contains(&"group normalization of [2, 8, 8, 4] in f64".to_owned()), "{operations:?}");
}
