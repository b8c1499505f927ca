//! Feature networks for the evaluation of generative models: images in, features and logits out.
//!
//! The crate owns the networks between whose features distances such as the FID are computed, the ways to prepare
//! images for them, and a reader of the files that PyTorch's published weights come in. It only evaluates networks: no
//! gradients, no training. It leaves out the distances, the download of weights and the decoding of image files.
//!
//! Reading order:
//! - [`FeatureNetwork`] and [`Features`], the interface; [`load`], [`NetworkKind`] and [`read_weights`];
//! - [`Preprocessing`] with [`Resize`], and the weights of each axis (`axis_weights`);
//! - the networks [`EfficientNetLite0`], [`InceptionV3`] and [`DinoV2`];
//! - their layers: `convolution_layer` and `feature_map` with the two ways to compute (`execution`), and the kernels
//!   for
//!   the CPU in `blocked`; `weights` and `batch_norm` for loading;
//! - [`read_pth`]: files of `torch.save`, in `pth`.
//!
//! # Examples
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use ddpm_features::Preprocessing;
//!
//! # fn main() -> Result<(), ddpm_features::FeaturesError> {
//! // What Inception-v3 sees of an image of 32 × 32 pixels in the middle of the range.
//! let gray = (Tensor::ones((1, 3, 32, 32), DType::F32, &Device::Cpu)? * 128.0)?;
//! let input = Preprocessing::tensorflow_inception().apply(&gray)?;
//! assert_eq!(input.dims(), [1, 3, 299, 299]);
//! assert!(input.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! - Nothing that a file contains is executed, and no size in it leads to more memory than sixteen times its length.
//! - The features of an image do not depend on the other images of its batch: on the CPU, those of the convolutional
//!   networks are the same bits in every batch.
//! - Bad files and images are errors that name the file or the shape. A panic is a bug.

mod error;

mod pth;

mod axis_weights;
mod resize;

mod preprocessing;

mod convolution_shape;
mod execution;
mod weights;

mod blocked;

mod batch_norm;
mod convolution_layer;
mod feature_map;
mod linear_layer;

mod batch_runner;
mod feature_network;

mod dino_v2;
mod efficientnet_lite0;
mod inception;

mod network_kind;
mod weights_file;

pub use dino_v2::{DinoV2, DinoV2Config};
pub use efficientnet_lite0::EfficientNetLite0;
pub use error::FeaturesError;
pub use feature_network::{FeatureNetwork, Features};
pub use inception::{InceptionFeatures, InceptionLayer, InceptionV3};
pub use network_kind::{NetworkKind, UnknownNetwork};
pub use preprocessing::Preprocessing;
pub use pth::read_pth;
pub use resize::Resize;
pub use weights_file::{load, read_weights};

/// Compiles and runs the example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
