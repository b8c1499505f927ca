//! The common parts of the command-line programs of this workspace: the command line, devices, threads, logs, progress
//! bars, signals and exit codes.
//!
//! The crate does not depend on diffusion models. With the feature `hub`, [`resolve_model_path`] downloads models of
//! the Hugging Face Hub and `TransferBar` shows the progress of downloads and uploads. With the feature `cuda`,
//! [`DeviceChoice`] opens NVIDIA GPUs.
//!
//! Reading order: [`parse_arguments`], [`named_values`](crate::named_values()), [`exit_code`], [`Job`],
//! [`DeviceChoice`], [`device_label`](crate::device_label()), [`is_out_of_memory`], [`run_on_threads`],
//! [`Verbosity`], [`Progress`], [`StopSignal`], [`pluralize`](crate::pluralize()), [`print`](crate::print()),
//! [`print_completions`], [`print_man_page`], [`invocation`](crate::invocation()).

mod arguments;
mod completions;
mod device_choice;
mod device_label;
mod exit;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(not(feature = "cuda"))]
#[path = "no_gpu.rs"]
mod gpu;
mod gpu_failure;
#[cfg(feature = "hub")]
mod hub_model;
#[cfg(not(feature = "hub"))]
#[path = "no_hub_model.rs"]
mod hub_model;
mod invocation;
mod job;
mod logging;
mod man_page;
mod named_values;
mod out_of_memory;
mod pluralize;
mod progress;
#[cfg(not(windows))]
mod signals;
#[cfg(windows)]
#[path = "signals_windows.rs"]
mod signals;
mod stdout;
mod stop_signal;
mod threads;
#[cfg(feature = "hub")]
mod transfer_bar;
mod version;

pub use arguments::parse_arguments;
pub use completions::print_completions;
pub use ddpm_distributed::LongWork;
pub use device_choice::DeviceChoice;
pub use device_label::{describe_device, device_label, device_name};
pub use exit::{ExitReason, UsageError, exit_code, usage_error};
#[cfg(feature = "hub")]
pub use hub_model::hub_error;
pub use hub_model::resolve_model_path;
pub use invocation::{invocation, shell_word};
pub use job::{Job, JobArgs};
pub use logging::Verbosity;
pub use man_page::print_man_page;
pub use named_values::named_values;
pub use out_of_memory::is_out_of_memory;
pub use pluralize::{grouped, pluralize};
pub use progress::Progress;
pub use stdout::print;
pub use stop_signal::StopSignal;
pub use threads::run_on_threads;
#[cfg(feature = "hub")]
pub use transfer_bar::TransferBar;
