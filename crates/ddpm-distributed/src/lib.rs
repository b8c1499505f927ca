//! What the processes (ranks) of a distributed training do together.
//!
//! [`Communicator`] is the interface: code above it is written once and runs in one process or in many. [`Single`] is
//! the communicator of a single process.

mod communicator;
mod error;
mod member;
mod pending_sum;
mod single;

pub use communicator::{Communicator, LongWork};
pub use error::DistributedError;
pub use member::Member;
pub use pending_sum::PendingSum;
pub use single::Single;
