//! DINOv2, a vision transformer.
//!
//! - `config` holds the sizes, `network` the embedding of patches and the features, `block` a transformer block.
//! - `position_embedding` resizes the embedding of positions, `weight_names` maps the names of transformers.

mod block;
mod config;
mod network;
mod position_embedding;
mod weight_names;

pub use config::DinoV2Config;
pub use network::DinoV2;
