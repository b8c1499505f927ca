//! Inception-v3 as the graph `inception-2015-12-05` of TensorFlow computes it, the network of the FID.
//!
//! - `network` holds the layers and the features of each, `layer` their names.
//! - `mixed_blocks` lists the branches of every block, `block` computes a block.
//! - `weight_names` maps the names of pytorch-fid's wrapper to those of the network.

mod block;
mod layer;
mod mixed_blocks;
mod network;
mod weight_names;

pub use layer::InceptionLayer;
pub use network::{InceptionFeatures, InceptionV3};
