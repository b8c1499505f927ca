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
mod convolution_report;
mod convolution_shape;
#[cfg(feature = "cuda")]
mod cuda_graph;
mod cudnn;
mod emulation;
mod fallbacks;
mod fused_norm;
mod gpu_memory;
mod gradient;
mod kernels;
mod layout;
mod math_mode;
#[cfg(not(feature = "cuda"))]
mod no_gpu;
mod ops;
mod primitives;
mod rearrange;
mod reference;
mod seed;
mod shape_cache;
mod step_graph;
pub(crate) mod tensor_update;
mod training_cache;
mod upload;
mod weight_cache;

pub use self::convolution_report::{ConvolutionMethod, ConvolutionUse, convolution_report};
pub use self::convolution_shape::{ConvolutionShape, Pass};
pub(crate) use self::emulation::emulated;
pub use self::fallbacks::{Fallback, fallbacks};
pub use self::gpu_memory::GpuMemory;
pub use self::kernels::{DeviceUpdate, UpdateHyperparameters, UpdateRecord, Updated};
#[cfg(feature = "cuda")]
pub use self::kernels::{gpu_memory, open_gpu};
#[cfg(not(feature = "cuda"))]
pub use self::no_gpu::{gpu_memory, open_gpu};
pub use self::step_graph::StepGraph;
pub use self::training_cache::TrainingCache;
pub use self::upload::upload;
