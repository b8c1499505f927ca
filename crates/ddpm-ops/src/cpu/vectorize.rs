//! Plain loops, compiled for the vector instructions of the machine that runs them.

use pulp::{Arch, Simd, WithSimd};

/// Whether the machine has an instruction for fused multiplication and addition (FMA).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fma(bool);

impl Fma {
    #[cfg(test)]
    pub(crate) const BOTH: [Self; 2] = [Self(false), Self(true)];

    /// a · b + c, rounded once if the machine has FMA, else twice.
    #[inline(always)]
    pub(crate) fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        // Without the instruction, `f32::mul_add` would call a slow library function.
        if self.0 { a.mul_add(b, c) } else { a * b + c }
    }
}

/// Calls `f`, compiled for the widest vectors of this machine, so that its loops become SIMD code.
///
/// Only code that is inlined into `f` is compiled for these vectors. `f` itself and the functions that it calls
/// therefore have to be marked `#[inline(always)]`, and scratch memory has to be taken before the call, not inside of
/// it through another closure.
pub(crate) fn vectorize<R>(f: impl FnMut(Fma) -> R) -> R {
    struct Call<F>(F);

    // pulp implements `WithSimd` for `FnOnce` closures. A closure that is `FnMut` would be called there through a shim
    // function, which is compiled for the oldest machine.
    impl<R, F: FnMut(Fma) -> R> WithSimd for Call<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            // All machines with vectors that pulp supports have FMA.
            (self.0)(Fma(S::F32_LANES > 1))
        }
    }

    Arch::new().dispatch(Call(f))
}
