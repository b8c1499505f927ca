//! Feature networks.

mod axis_weights;
mod batch_norm;
mod batch_runner;
mod blocked;
mod convolution_layer;
mod convolution_shape;
mod dino_v2;
mod efficientnet_lite0;
mod error;
mod execution;
mod feature_map;
mod feature_network;
mod inception;
mod linear_layer;
mod network_kind;
mod preprocessing;
mod pth;
mod resize;
mod weights;
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
