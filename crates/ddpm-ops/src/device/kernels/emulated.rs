//! The kernels on the CPU, for tests: `on_cpu.c`, which `build.rs` compiles for each element type and pack size.
#![allow(unsafe_code, reason = "calls of C functions")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use candle_core::{Result, bail};

use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch_shape::LaunchShape;

/// A function of `on_cpu.c` that runs the kernel of a name.
type Run = unsafe extern "C" fn(*const c_char, *const c_void, *const u32, *const u32) -> c_int;

unsafe extern "C" {
    fn ddpm_run_f32_1(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
    fn ddpm_run_f32_4(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
    fn ddpm_run_bf16_1(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
    fn ddpm_run_bf16_8(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
}

/// Held during a call, because the C code keeps the threads of a launch in static variables.
static RUNNING: Mutex<()> = Mutex::new(());

/// Runs a kernel on the CPU; see `launch::launch`.
pub(super) fn launch<A: Copy>(elements: Elements, kernel: &str, (grid, block): LaunchShape, args: &A) -> Result<()> {
    let run: Run = match (elements.bf16, elements.pack) {
        (false, 1) => ddpm_run_f32_1,
        (false, 4) => ddpm_run_f32_4,
        (true, 1) => ddpm_run_bf16_1,
        (true, 8) => ddpm_run_bf16_8,
        _ => bail!("expected elements that the kernels are compiled for, found {elements:?}"),
    };
    let name = CString::new(kernel).map_err(candle_core::Error::wrap)?;
    let _guard = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: `args` is the twin of the kernel's structure, and its addresses are those of live memory of the sizes
    // that its other fields imply; see `launch::launch`. The lock ensures that calls do not overlap.
    let code = unsafe { run(name.as_ptr(), std::ptr::from_ref(args).cast(), grid.as_ptr(), block.as_ptr()) };
    match code {
        0 => Ok(()),
        code => bail!("kernel {kernel}: the emulator returned error code {code}"),
    }
}
