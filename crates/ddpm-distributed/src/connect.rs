//! The choice of a communicator.

use std::sync::Arc;

use candle_core::Device;

use crate::communicator::Communicator;
use crate::error::DistributedError;
use crate::launch::Launch;
use crate::launcher::Launcher;
use crate::options::Options;
use crate::single::Single;

/// Connects this process with the others of its job: MPI if they compute on CPUs, NCCL on GPUs. A process that no
/// launcher started is alone.
///
/// All ranks call this once. Call it before anything is written: its errors mean that the job cannot run.
///
/// # Errors
/// When the program was built without the library that the job needs, the launcher does not fit the device or the
/// library, or a rank does not answer in time.
pub fn connect(
    launch: Option<&Launch>,
    device: &Device,
    options: &Options,
) -> Result<Arc<dyn Communicator>, DistributedError> {
    match launch {
        Some(launch) if launch.size > 1 => connect_ranks(launch, device, options),
        _ => Ok(Arc::new(Single::default())),
    }
}

fn connect_ranks(
    launch: &Launch,
    device: &Device,
    options: &Options,
) -> Result<Arc<dyn Communicator>, DistributedError> {
    let (launcher, size) = (launch.launcher, launch.size);
    match device {
        Device::Cuda(_) => connect_nccl(launch, device, options),
        _ if launcher == Launcher::Torchrun => Err(DistributedError::TorchrunOnCpu { size }),
        _ => connect_mpi(launch, options),
    }
}

#[cfg(feature = "mpi")]
fn connect_mpi(launch: &Launch, options: &Options) -> Result<Arc<dyn Communicator>, DistributedError> {
    Ok(Arc::new(crate::mpi::Mpi::connect(launch, options)?))
}

#[cfg(not(feature = "mpi"))]
fn connect_mpi(launch: &Launch, _: &Options) -> Result<Arc<dyn Communicator>, DistributedError> {
    let (launcher, size) = (launch.launcher, launch.size);
    Err(DistributedError::FeatureMissing { launcher, size, library: "MPI", feature: "mpi" })
}

#[cfg(feature = "nccl")]
fn connect_nccl(
    launch: &Launch,
    device: &Device,
    options: &Options,
) -> Result<Arc<dyn Communicator>, DistributedError> {
    Ok(Arc::new(crate::nccl::Nccl::connect(launch, device, options)?))
}

#[cfg(not(feature = "nccl"))]
fn connect_nccl(launch: &Launch, _: &Device, _: &Options) -> Result<Arc<dyn Communicator>, DistributedError> {
    let (launcher, size) = (launch.launcher, launch.size);
    Err(DistributedError::FeatureMissing { launcher, size, library: "NCCL", feature: "nccl" })
}
