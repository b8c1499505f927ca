//! The kernels on an NVIDIA GPU. NVRTC compiles them for the present GPU when one of them is first called.
#![allow(unsafe_code, reason = "a kernel launch cannot be checked by the compiler")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaStorageSlice, DeviceId};
use candle_core::{CudaDevice, CudaStorage, Device, Result, bail};

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
/// When there is no such GPU, or CUDA cannot be initialised.
pub fn open_gpu(number: usize) -> Result<Device> {
    // All threads share one stream. The operations of several streams would not be ordered among one another.
    let device = Device::new_cuda_with_stream(number)?;
    // SAFETY: nothing has been allocated on the device yet, and all work of this process is done in order on its one
    // stream, so there is no other stream that events would have to synchronise with.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}

/// A kernel for these elements. The source is compiled once for each process, and a kernel is looked up once for each
/// GPU.
fn function(device: &CudaDevice, elements: Elements, kernel: &'static str) -> Result<CudaFunction> {
    type Functions = HashMap<(DeviceId, Elements, &'static str), CudaFunction>;
    static CACHE: Mutex<Option<(Functions, HashMap<Elements, String>)>> = Mutex::new(None);
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let (functions, compiled) = cache.get_or_insert_default();
    let key = (device.id(), elements, kernel);
    if let Some(function) = functions.get(&key) {
        return Ok(function.clone());
    }
    let ptx = match compiled.entry(elements) {
        Entry::Occupied(ptx) => ptx.into_mut(),
        Entry::Vacant(entry) => entry.insert(compile(elements)?),
    };
    let module = format!("ddpm-{}-{}", if elements.bf16 { "bf16" } else { "f32" }, elements.pack);
    let function = device.get_or_load_custom_func(kernel, &module, ptx)?.into_cuda_function();
    functions.insert(key, function.clone());
    Ok(function)
}

/// The kernels for these elements, compiled to PTX.
fn compile(elements: Elements) -> Result<String> {
    let mut options = vec![format!("-DVEC={}", elements.pack)];
    if elements.bf16 {
        options.push("-DBF16".into());
    }
    let options = CompileOptions { options, ..CompileOptions::default() };
    let ptx = compile_ptx_with_opts(format!("{PRELUDE}{SOURCE}"), options).map_err(candle_core::Error::wrap)?;
    Ok(ptx.to_src())
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
