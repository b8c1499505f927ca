//! What the command-line programs of this workspace share: the command line, devices, threads, logs, progress, signals,
//! exit codes.
//!
//! It leaves out everything about diffusion. With the feature `hub`, [`model_path`] knows the Hugging Face Hub, and
//! `Transfer` draws what it sends; with the feature `cuda`, [`DeviceChoice`] opens NVIDIA GPUs. Reading order:
//! [`arguments`], [`exit`], [`DeviceChoice`], [`device_name`](crate::device_name()), [`is_out_of_memory`],
//! [`Verbosity`], [`Progress`], [`StopSignal`], [`counted`](crate::counted()), [`print`](crate::print()),
//! [`completions`].

mod arguments;
mod completions;
mod counted;
mod device;
mod device_name;
mod exit;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(not(feature = "cuda"))]
#[path = "no_gpu.rs"]
mod gpu;
mod gpu_failure;
#[cfg(feature = "hub")]
mod hub;
#[cfg(not(feature = "hub"))]
#[path = "no_hub.rs"]
mod hub;
mod logging;
mod named_values;
mod out_of_memory;
mod progress;
mod signals;
mod stdout;
mod threads;
#[cfg(feature = "hub")]
mod transfer;

pub use arguments::arguments;
pub use completions::completions;
pub use counted::counted;
pub use device::DeviceChoice;
pub use device_name::{device_in_words, device_label, device_name, gpu_memory_mib};
pub use exit::{Ended, UsageError, exit, usage};
#[cfg(feature = "hub")]
pub use hub::hub_error;
pub use hub::model_path;
pub use logging::Verbosity;
pub use named_values::named_values;
pub use out_of_memory::is_out_of_memory;
pub use progress::Progress;
pub use signals::StopSignal;
pub use stdout::print;
pub use threads::on_threads;
#[cfg(feature = "hub")]
pub use transfer::Transfer;
