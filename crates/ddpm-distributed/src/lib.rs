#![doc = include_str!("../README.md")]
//!
//! # Modules
//! [`Communicator`] is the interface: code above it is written once and runs in one process or in many. [`Launch`]
//! reads how this process was started, and [`connect`] chooses the communicator.

mod abort_on_panic;
#[cfg(any(feature = "mpi", feature = "nccl"))]
mod bucket_parts;
mod communicator;
mod connect;
mod error;
mod launch;
mod launcher;
mod long_work;
mod member;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
#[cfg(any(feature = "nccl", test))]
mod nccl_id_file;
mod options;
mod pairwise_sum;
mod pending_sum;
mod single;
mod threads_of_rank;

#[cfg(feature = "mpi")]
pub use self::mpi::Mpi;
#[cfg(feature = "nccl")]
pub use self::nccl::Nccl;
pub use abort_on_panic::abort_on_panic;
pub use communicator::Communicator;
pub use connect::connect;
pub use error::DistributedError;
pub use launch::Launch;
pub use launcher::Launcher;
pub use long_work::LongWork;
pub use member::Member;
pub use options::Options;
pub use pairwise_sum::pairwise_sum;
pub use pending_sum::PendingSum;
pub use single::Single;
pub use threads_of_rank::threads_of_rank;
