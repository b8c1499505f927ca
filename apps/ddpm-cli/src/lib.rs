//! What the command-line programs of this workspace share: the command line, devices, threads, logs, progress, signals,
//! exit codes.
//!
//! It leaves out everything about diffusion. With the feature `hub`, [`model_path`] knows the
//! Hugging Face Hub, and `Transfer` draws what it sends. Reading order: [`arguments`], [`exit`], [`DeviceChoice`], [`Verbosity`],
//! [`Progress`], [`StopSignal`], [`print`](crate::print()), [`completions`].

mod arguments;
mod completions;
mod device;
mod exit;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "no_hub.rs"]
mod hub;
mod logging;
mod progress;
mod signals;
mod stdout;
mod threads;
#[cfg(feature = "hub")]
mod transfer;

pub use arguments::arguments;
pub use completions::completions;
pub use device::DeviceChoice;
pub use exit::{Ended, UsageError, exit, usage};
#[cfg(feature = "hub")]
pub use hub::hub_error;
pub use hub::model_path;
pub use logging::Verbosity;
pub use progress::Progress;
pub use signals::StopSignal;
pub use stdout::print;
pub use threads::on_threads;
#[cfg(feature = "hub")]
pub use transfer::Transfer;
