//! Models and image datasets from the Hugging Face Hub, and models to it: the only crate of the workspace that reaches
//! the network.
//!
//! Owns what is asked of the Hub, which files of a repository are needed, and the cache on disk, which it shares with
//! the Python library `huggingface_hub`. It leaves out what the files mean, and draws nothing: a [`Watch`] hears of
//! progress.
//!
//! What comes over the network is not trusted: a name that could leave its directory is refused, every file has the
//! hash that the Hub lists before it has its name, and the token goes to the endpoint alone. When the network is gone,
//! what is in the cache serves.
//!
//! Reading order: [`HubConfig`], [`RepoId`], [`Hub`], [`Wanted`], [`DatasetFiles`]; within: `client`, `listing`,
//! `snapshot`, `download`, `model_files`, `dataset_files`, `push_right`, `push`.

mod cache;
mod card;
mod client;
mod config;
mod dataset_files;
mod digest;
mod download;
mod endpoint;
mod error;
mod front_matter;
mod glob;
mod hub;
mod lfs;
mod listing;
mod model_files;
mod plain_path;
mod push;
mod push_right;
mod repo_id;
mod snapshot;
mod token;
mod watch;

pub use config::HubConfig;
pub use dataset_files::Wanted;
pub use endpoint::Endpoint;
pub use error::{HubError, Result};
pub use hub::{DatasetFiles, Hub};
pub use repo_id::RepoId;
pub use token::Token;
pub use watch::Watch;
