//! The device backend: everything but f32 on the CPU, on a GPU or in another floating-point type.
//!
//! Images are stored channels last, [batch, height, width, channel], as tensor cores read them, in the type of the
//! pass. Vectors of features, statistics, sums and the gradients of parameters are at least f32.
//!
//! From the top down: `ops` has one file for each operation, with its backward step. They are composed of the functions
//! of `primitives`, each of which calls a kernel of this crate (`kernels`) or of cuDNN (`cudnn`) if there is one, and
//! otherwise the function of the same name in `reference`, which composes candle's operations. `DeviceUpdate`
//! (`kernels/update.rs`) updates parameters on a GPU.

pub(crate) mod backend;
#[cfg_attr(not(feature = "cuda"), path = "no_cudnn.rs")]
mod cudnn;
mod emulation;
mod fused_norm;
mod gradient;
mod kernels;
mod layout;
mod ops;
mod primitives;
mod rearrange;
mod reference;
pub(crate) mod tensor_update;
mod weight_cache;

pub(crate) use self::emulation::emulated;
#[cfg(feature = "cuda")]
pub use self::kernels::open_gpu;
pub use self::kernels::{DeviceUpdate, UpdateRecord, UpdateStep, Updated};
