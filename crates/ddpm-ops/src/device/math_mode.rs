//! Whether a GPU may round the factors of f32 products to TF32.
//!
//! candle and cuBLAS keep this setting for the whole process. A pass therefore sets it when it begins, and again when
//! its gradient is computed, because another pass may have changed it in between. Passes with different settings must
//! not run at the same time on two threads.

use std::sync::atomic::{AtomicBool, Ordering};

static TF32: AtomicBool = AtomicBool::new(false);

/// Sets whether the products that follow may be rounded to TF32.
pub(super) fn set_tf32(permitted: bool) {
    TF32.store(permitted, Ordering::Relaxed);
    // Matrix products read candle's setting, and convolutions this one.
    #[cfg(feature = "cuda")]
    candle_core::cuda_backend::set_gemm_reduced_precision_f32(permitted);
}

/// The setting.
#[cfg(any(feature = "cuda", test))]
pub(super) fn tf32() -> bool {
    TF32.load(Ordering::Relaxed)
}
