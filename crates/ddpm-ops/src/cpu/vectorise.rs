//! Plain loops compiled for the vectors of the machine at hand.

use pulp::{Arch, Simd, WithSimd};

/// Whether a machine multiplies and adds in one instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fma(bool);

impl Fma {
    #[cfg(test)]
    pub(crate) const BOTH: [Self; 2] = [Self(false), Self(true)];

    /// a · b + c, with one rounding where there is such an instruction.
    #[inline(always)]
    pub(crate) fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        // Where there is none, `mul_add` calls a function of the library.
        if self.0 { a.mul_add(b, c) } else { a * b + c }
    }
}

/// Calls `f` as code for the widest vectors that this machine has: its loops become SIMD code.
///
/// Only what is inlined into `f` is compiled so: mark `f` itself and what it calls `#[inline(always)]`, and hand it scratch memory
/// rather than have it borrow some through a closure.
pub(crate) fn vectorise<R>(f: impl FnMut(Fma) -> R) -> R {
    struct Call<F>(F);

    // Of `FnMut`, not of `FnOnce` as pulp's own: a closure that could be called again is called through a function of its own
    // then, which is compiled for any machine.
    impl<R, F: FnMut(Fma) -> R> WithSimd for Call<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            // Every kind of vector that pulp knows comes with it.
            (self.0)(Fma(S::F32_LANES > 1))
        }
    }

    Arch::new().dispatch(Call(f))
}
