//! What the command-line programs of this workspace share: the command line, devices, threads, logs, progress, signals,
//! exit codes.
//!
//! It leaves out everything about diffusion. Reading order: [`arguments`], [`exit`], [`DeviceChoice`], [`Verbosity`],
//! [`Progress`], [`Transfer`],
//! [`StopSignal`], [`print`](crate::print()), [`completions`].

mod arguments;
mod completions;
mod device;
mod exit;
mod logging;
mod progress;
mod signals;
mod stdout;
mod threads;
mod transfer;

pub use arguments::arguments;
pub use completions::completions;
pub use device::DeviceChoice;
pub use exit::{Ended, UsageError, exit, usage};
pub use logging::Verbosity;
pub use progress::Progress;
pub use signals::StopSignal;
pub use stdout::print;
pub use threads::on_threads;
pub use transfer::Transfer;
