//! The kernels on an NVIDIA GPU. NVRTC compiles them for the present GPU when one of them is first called.
#![allow(unsafe_code, reason = "a kernel launch cannot be checked by the compiler")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaStorageSlice, DeviceId};
use candle_core::{CudaDevice, CudaStorage, Device, Result, bail};

use crate::device::gpu_memory::GpuMemory;
use crate::device::kernels::compile_options::compile_options;
use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch_shape::LaunchShape;

/// The source of all kernels.
const SOURCE: &str = include_str!("kernels.cu");

/// The definitions, for CUDA C++, of the macros that `kernels.cu` leaves to its includer.
const PRELUDE: &str = "#define ALIGNED(bytes) __align__(bytes)\n\
                       #define KERNEL(name, Args) extern \"C\" __global__ void name(Args a)\n";

/// Opens the GPU of this number, counted from 0.
///
/// # Errors
/// When there is no such GPU, or CUDA cannot be initialized.
pub fn open_gpu(number: usize) -> Result<Device> {
    // All threads share one stream. The operations of several streams would not be ordered among one another.
    let device = Device::new_cuda_with_stream(number)?;
    // SAFETY: nothing has been allocated on the device yet, and all work of this process is done in order on its one
    // stream, so there is no other stream that events would have to synchronise with.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    keep_freed_memory(device.as_cuda_device()?)?;
    Ok(device)
}

/// Makes the memory pool keep freed memory for later allocations. By default it returns memory to the system each time
/// that the CPU waits for the GPU, and allocating it again takes longer than a kernel.
fn keep_freed_memory(device: &CudaDevice) -> Result<()> {
    let mut threshold = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a u64.
    unsafe { result::mem_pool::set_attribute(memory_pool(device)?, attribute, (&raw mut threshold).cast()) }
        .map_err(candle_core::Error::wrap)
}

/// Waits for the device, and returns the memory that is kept for later allocations to the system.
pub(in crate::device) fn release_freed_memory(device: &CudaDevice) -> Result<()> {
    device.cuda_stream().synchronize().map_err(candle_core::Error::wrap)?;
    // SAFETY: the pool is that of an open device.
    unsafe { result::mem_pool::trim_to(memory_pool(device)?, 0) }.map_err(candle_core::Error::wrap)
}

/// The memory that this process has taken from a GPU; None for the CPU, or if the driver does not say.
pub fn gpu_memory(device: &Device) -> Option<GpuMemory> {
    let device = device.as_cuda_device().ok()?;
    let of_pool = |attribute: sys::CUmemPool_attribute| {
        let mut bytes = 0u64;
        // SAFETY: both attributes are u64.
        unsafe { result::mem_pool::get_attribute(memory_pool(device).ok()?, attribute, (&raw mut bytes).cast()) }
            .ok()?;
        Some(bytes)
    };
    // Captured steps have memory of their own.
    let of_graphs = |attribute: sys::CUgraphMem_attribute| {
        let mut bytes = 0u64;
        let number = device.cuda_stream().context().cu_device();
        // SAFETY: both attributes are u64.
        let status = unsafe { sys::cuDeviceGetGraphMemAttribute(number, attribute, (&raw mut bytes).cast()) };
        status.result().ok().map(|()| bytes)
    };
    use sys::CUgraphMem_attribute::{CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH, CU_GRAPH_MEM_ATTR_USED_MEM_HIGH};
    use sys::CUmemPool_attribute::{CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, CU_MEMPOOL_ATTR_USED_MEM_HIGH};
    Some(GpuMemory {
        allocated: of_pool(CU_MEMPOOL_ATTR_USED_MEM_HIGH)? + of_graphs(CU_GRAPH_MEM_ATTR_USED_MEM_HIGH)?,
        reserved: of_pool(CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH)? + of_graphs(CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH)?,
    })
}

fn memory_pool(device: &CudaDevice) -> Result<sys::CUmemoryPool> {
    // SAFETY: the device is open.
    unsafe { result::device::get_mem_pool(device.cuda_stream().context().cu_device()) }
        .map_err(candle_core::Error::wrap)
}

/// The major and the minor number of a compute capability.
type ComputeCapability = (i32, i32);

/// A kernel for these elements. The source is compiled once for each kind of GPU in a process, and a kernel is looked
/// up once for each GPU.
fn function(device: &CudaDevice, elements: Elements, kernel: &'static str) -> Result<CudaFunction> {
    type Functions = HashMap<(DeviceId, Elements, &'static str), CudaFunction>;
    type Compiled = HashMap<(Elements, ComputeCapability), String>;
    static CACHE: Mutex<Option<(Functions, Compiled)>> = Mutex::new(None);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let (functions, compiled) = cache.get_or_insert_default();
    let key = (device.id(), elements, kernel);
    if let Some(function) = functions.get(&key) {
        return Ok(function.clone());
    }
    let capability = device.cuda_stream().context().compute_capability().map_err(candle_core::Error::wrap)?;
    let ptx = match compiled.entry((elements, capability)) {
        Entry::Occupied(ptx) => ptx.into_mut(),
        Entry::Vacant(entry) => entry.insert(compile(elements, capability)?),
    };
    let module = format!("ddpm-{}-{}", if elements.bf16 { "bf16" } else { "f32" }, elements.pack);
    let function = device.get_or_load_custom_func(kernel, &module, ptx)?.into_cuda_function();
    functions.insert(key, function.clone());
    Ok(function)
}

/// The kernels for these elements, compiled to PTX for a compute capability. The driver translates PTX for the GPU that
/// loads it.
fn compile(elements: Elements, (major, minor): ComputeCapability) -> Result<String> {
    let architecture = format!("compute_{major}{minor}");
    let options = compile_options(elements, &architecture);
    let options = CompileOptions { options, ..CompileOptions::default() };
    match compile_ptx_with_opts(format!("{PRELUDE}{SOURCE}"), options) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(error) => bail!("NVRTC cannot compile the kernels for {architecture}: {error}"),
    }
}

/// Launches a kernel on a GPU; see `launch::launch`.
pub(super) fn launch<A: Copy>(
    device: &CudaDevice,
    elements: Elements,
    kernel: &'static str,
    (grid, block): LaunchShape,
    args: &A,
) -> Result<()> {
    /// The structure as a kernel argument that is passed by value.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    struct ByValue<A>(A);
    // SAFETY: the structure is plain data in the layout of the kernel's argument, and `PushKernelArg` passes its bytes.
    unsafe impl<A: Copy> candle_core::cuda_backend::cudarc::driver::DeviceRepr for ByValue<A> {}

    let function = function(device, elements, kernel)?;
    let config =
        LaunchConfig { grid_dim: (grid[0], grid[1], grid[2]), block_dim: (block[0], block[1], 1), shared_mem_bytes: 0 };
    let args = ByValue(*args);
    let stream = device.cuda_stream();
    let mut call = stream.launch_builder(&function);
    call.arg(&args);
    // SAFETY: `args` is the twin of the kernel's structure, and its addresses are those of live memory of the sizes
    // that its other fields imply; see `launch::launch`.
    unsafe { call.launch(config) }.map_err(candle_core::Error::wrap)?;
    Ok(())
}

/// The address of a storage, for reading.
pub(super) fn address(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        _ => bail!("expected an input of type f32, bf16 or i64 for a GPU kernel"),
    })
}

/// The address of a storage, for writing.
pub(super) fn address_to_write(storage: &mut CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    Ok(match &mut storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr_mut(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr_mut(&stream).0,
        _ => bail!("expected an output of type f32 or bf16 for a GPU kernel"),
    })
}
