//! The kernels on a GPU: compiled when first called, for the GPU that is there.
#![allow(unsafe_code, reason = "calls of kernels")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{CudaFunction, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaStorageSlice, DeviceId};
use candle_core::{CudaDevice, CudaStorage, Device, Result, bail};

use super::launch::Elements;

const SOURCE: &str = include_str!("kernels.cu");

/// What the words that C has not in common with CUDA C++ mean here.
const PRELUDE: &str = "#define ALIGNED(bytes) __align__(bytes)\n\
                       #define KERNEL(name, Args) extern \"C\" __global__ void name(Args a)\n";

/// A GPU, by its number.
///
/// # Errors
/// When there is none of that number, or it does not start.
pub fn open_gpu(number: usize) -> Result<Device> {
    // One stream for all threads: those of a thread's own would not wait for each other.
    let device = Device::new_cuda_with_stream(number)?;
    // SAFETY: nothing has been allocated on it, and everything here is done on its one stream, in order: there is no other whose
    // work the events would tell of.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    Ok(device)
}

/// A kernel for these elements. Its source is compiled once a process, and each kernel looked up once a GPU.
fn function(device: &CudaDevice, elements: Elements, kernel: &'static str) -> Result<CudaFunction> {
    type Known = HashMap<(DeviceId, Elements, &'static str), CudaFunction>;
    static KNOWN: Mutex<Option<(Known, HashMap<Elements, String>)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let (functions, compiled) = known.get_or_insert_default();
    let key = (device.id(), elements, kernel);
    if let Some(function) = functions.get(&key) {
        return Ok(function.clone());
    }
    let ptx = match compiled.entry(elements) {
        Entry::Occupied(ptx) => ptx.into_mut(),
        Entry::Vacant(place) => place.insert(compile(elements)?),
    };
    let module = format!("ddpm-{}-{}", if elements.bf16 { "bf16" } else { "f32" }, elements.pack);
    let function = device.get_or_load_custom_func(kernel, &module, ptx)?.into_cuda_function();
    functions.insert(key, function.clone());
    Ok(function)
}

fn compile(elements: Elements) -> Result<String> {
    let mut options = vec![format!("-DVEC={}", elements.pack)];
    if elements.bf16 {
        options.push("-DBF16".into());
    }
    let options = CompileOptions { options, ..CompileOptions::default() };
    let ptx = compile_ptx_with_opts(format!("{PRELUDE}{SOURCE}"), options).map_err(candle_core::Error::wrap)?;
    Ok(ptx.to_src())
}

pub(super) fn launch<A: Copy>(
    device: &CudaDevice,
    elements: Elements,
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 2],
    args: &A,
) -> Result<()> {
    /// A structure as a kernel's argument.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    struct ByValue<A>(A);
    // SAFETY: it is plain data of the kernel's layout, and `PushKernelArg` passes its bytes.
    unsafe impl<A: Copy> candle_core::cuda_backend::cudarc::driver::DeviceRepr for ByValue<A> {}

    let function = function(device, elements, kernel)?;
    let config =
        LaunchConfig { grid_dim: (grid[0], grid[1], grid[2]), block_dim: (block[0], block[1], 1), shared_mem_bytes: 0 };
    let args = ByValue(*args);
    let stream = device.cuda_stream();
    let mut call = stream.launch_builder(&function);
    call.arg(&args);
    // SAFETY: `args` is the twin of the kernel's structure, with addresses of live memory of the sizes that its numbers say
    // (see `launch::launch`).
    unsafe { call.launch(config) }.map_err(candle_core::Error::wrap)?;
    Ok(())
}

/// Where a storage begins, to be read.
pub(super) fn address(storage: &CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    Ok(match &storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr(&stream).0,
        CudaStorageSlice::I64(slice) => slice.device_ptr(&stream).0,
        _ => bail!("no kernel reads that type"),
    })
}

/// Where a storage begins, to be written.
pub(super) fn address_to_write(storage: &mut CudaStorage) -> Result<u64> {
    let stream = storage.device.cuda_stream();
    Ok(match &mut storage.slice {
        CudaStorageSlice::F32(slice) => slice.device_ptr_mut(&stream).0,
        CudaStorageSlice::BF16(slice) => slice.device_ptr_mut(&stream).0,
        _ => bail!("no kernel writes that type"),
    })
}
