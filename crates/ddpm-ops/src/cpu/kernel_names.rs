//! The names of the instructions that the kernels use on this machine.

use pulp::{Arch, Simd, WithSimd};

use crate::cpu::amx;

/// The instructions that the CPU kernels use on this machine, such as `AVX-512 and AMX`.
pub fn cpu_kernels() -> String {
    struct Lanes;

    impl WithSimd for Lanes {
        type Output = usize;

        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }

    let vectors = match Arch::new().dispatch(Lanes) {
        16 => "AVX-512",
        8 => "AVX2",
        4 if cfg!(target_arch = "aarch64") => "NEON",
        1 => "no vectors",
        _ => "vectors",
    };
    let matrices = if amx::available() { " and AMX" } else { "" };
    format!("{vectors}{matrices}")
}
