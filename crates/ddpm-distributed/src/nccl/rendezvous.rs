//! How the ranks find each other before NCCL connects them.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Instant;

use candle_core::cuda_backend::cudarc::nccl::Id;

use super::errors::nccl;
use crate::communicator::Communicator;
use crate::error::DistributedError;
use crate::launch::Launch;
use crate::nccl_id_file::IdFile;
use crate::options::Options;

/// The communicator that carries everything but sums.
#[cfg(feature = "mpi")]
pub(super) type Control = Arc<crate::mpi::Mpi>;
/// A program without MPI has none.
#[cfg(not(feature = "mpi"))]
pub(super) type Control = Arc<crate::single::Single>;

/// The bytes of an id.
const ID_BYTES: usize = 128;

/// NCCL's id, and the file that it came through.
pub(super) struct SharedId {
    pub(super) value: Id,
    file: Option<IdFile>,
}

impl SharedId {
    /// Removes the file once all ranks have connected.
    pub(super) fn remove_file(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }
}

/// MPI, if the launcher speaks it and this program has it.
#[cfg(feature = "mpi")]
pub(super) fn control(launch: &Launch, options: &Options) -> Result<Option<Control>, DistributedError> {
    if launch.launcher == crate::launcher::Launcher::Torchrun {
        return Ok(None);
    }
    Ok(Some(Arc::new(crate::mpi::Mpi::connect(launch, options)?)))
}

/// There is no MPI in this program.
#[cfg(not(feature = "mpi"))]
pub(super) fn control(_: &Launch, _: &Options) -> Result<Option<Control>, DistributedError> {
    Ok(None)
}

/// When a rank has last said that it is still at work.
#[cfg(feature = "mpi")]
pub(super) fn last_sign_of_life(control: &Control) -> Option<Instant> {
    control.last_sign_of_life()
}

/// Nobody can say so.
#[cfg(not(feature = "mpi"))]
pub(super) fn last_sign_of_life(_: &Control) -> Option<Instant> {
    None
}

/// The id that all ranks share.
pub(super) fn id(launch: &Launch, control: Option<&Control>, options: &Options) -> Result<SharedId, DistributedError> {
    let is_first = launch.rank == 0;
    if let Some(control) = control {
        let own = if is_first { bytes_of(&new_id()?).to_vec() } else { Vec::new() };
        let bytes = control.broadcast(own)?;
        let bytes =
            bytes.try_into().map_err(|_| DistributedError::library("NCCL", "its id has another length on rank 0"))?;
        return Ok(SharedId { value: id_of(bytes), file: None });
    }
    let lookup = |name: &str| std::env::var(name).ok();
    if lookup("NCCL_COMM_ID").is_some() {
        // Every rank makes the same id of the address, and rank 0 listens there.
        return Ok(SharedId { value: new_id()?, file: None });
    }
    let file = IdFile::new(launch.local_size == launch.size, lookup)?;
    if !is_first {
        return Ok(SharedId { value: id_of(file.read(options.rank_timeout)?), file: None });
    }
    // That of an earlier job must not be read.
    file.remove();
    let value = new_id()?;
    file.publish(&bytes_of(&value))?;
    Ok(SharedId { value, file: Some(file) })
}

fn new_id() -> Result<Id, DistributedError> {
    nccl("ncclGetUniqueId", Id::new())
}

fn bytes_of(id: &Id) -> [u8; ID_BYTES] {
    id.internal().map(|byte| byte as u8)
}

fn id_of(bytes: [u8; ID_BYTES]) -> Id {
    Id::uninit(bytes.map(|byte| byte as c_char))
}
