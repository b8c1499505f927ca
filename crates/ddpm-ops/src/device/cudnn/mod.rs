//! Convolutions by cuDNN, with the channels last.
//!
//! For each shape and pass, the first call times all of cuDNN's algorithms on its tensors. The fastest deterministic
//! one is kept for the rest of the process. Two processes may measure different times and choose different algorithms,
//! so their results agree up to rounding.
//!
//! A convolution that cuDNN does not support is composed of candle's operations, which takes 10 to 50 times as long:
//! the functions return the reason. Every other status is an error.

// Without the feature `cuda`, only the tests use these two.
#[cfg(any(feature = "cuda", test))]
mod algorithm;
#[cfg(feature = "cuda")]
mod api;
#[cfg(feature = "cuda")]
mod descriptors;
#[cfg(feature = "cuda")]
mod library;
#[cfg(any(feature = "cuda", test))]
mod status;

#[cfg_attr(not(feature = "cuda"), path = "no_convolution.rs")]
mod convolution;

use candle_core::Tensor;

pub(super) use self::convolution::{convolution, convolution_input_backward, convolution_kernel_backward};
#[cfg(feature = "cuda")]
pub(super) use self::library::{Workspace, workspace};

/// A result, or the reason why cuDNN does not compute it.
pub(super) type Attempt = std::result::Result<Tensor, String>;
