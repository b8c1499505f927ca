//! Downloads models and image datasets from the Hugging Face Hub, and uploads models to it. It is the only crate of the
//! workspace that accesses the network.
//!
//! This crate owns the requests to the Hub, the selection of the files of a repository that are needed, and the cache
//! on disk, which it shares with the Python library `huggingface_hub`. It does not interpret the files. It reports
//! progress to a [`TransferProgress`] and prints nothing.
//!
//! Data from the network are not trusted. A file name that could leave its directory is refused, a file gets its
//! name in the cache only after its hash has been verified, and the token is sent to the endpoint alone. If the network
//! is not available, the files in the cache are used.
//!
//! Reading order: [`HubConfig`], [`RepoId`], [`Hub`], [`DatasetSelection`], [`DatasetFiles`]; then the modules
//! `client`, `listing`, `snapshot`, `download`, `model_files`, `dataset_files`, `upload_permission`, `upload`,
//! `lfs_upload`.

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
#[cfg(test)]
mod fuzz;
mod glob;
mod hub;
mod lfs_upload;
mod listing;
mod model_files;
mod plain_path;
mod repo_id;
mod snapshot;
mod steady_reader;
mod token;
mod transfer_progress;
mod upload;
mod upload_permission;

pub use config::HubConfig;
pub use dataset_files::DatasetSelection;
pub use endpoint::Endpoint;
pub use error::{HubError, Result};
pub use hub::{DatasetFiles, Hub};
pub use repo_id::RepoId;
pub use token::Token;
pub use transfer_progress::TransferProgress;
pub use upload::Visibility;

/// Compiles the example of the README as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
