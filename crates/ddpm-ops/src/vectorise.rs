//! Plain loops compiled for the vectors of the machine at hand.

use pulp::{Arch, Simd, WithSimd};

/// Calls `f` as code for the widest vectors that this machine has: its loops become SIMD code.
///
/// Only what is inlined into `f` is compiled so: mark `f` itself and what it calls `#[inline(always)]`, and hand it scratch memory
/// rather than have it borrow some through a closure.
pub(crate) fn vectorise<R>(f: impl FnMut() -> R) -> R {
    struct Call<F>(F);

    // Of `FnMut`, not of `FnOnce` as pulp's own: a closure that could be called again is called through a function of its own
    // then, which is compiled for any machine.
    impl<R, F: FnMut() -> R> WithSimd for Call<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    Arch::new().dispatch(Call(f))
}
