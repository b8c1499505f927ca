//! The kernels on the CPU: `on_cpu.c`, as `build.rs` compiled it.
#![allow(unsafe_code, reason = "calls of the kernels as C has them")]

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};

use candle_core::{Result, bail};

use super::launch::Elements;

type Run = unsafe extern "C" fn(*const c_char, *const c_void, *const u32, *const u32) -> c_int;

unsafe extern "C" {
    fn ddpm_run_f32_1(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
    fn ddpm_run_f32_4(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
    fn ddpm_run_bf16_1(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
    fn ddpm_run_bf16_8(name: *const c_char, args: *const c_void, grid: *const u32, block: *const u32) -> c_int;
}

/// The C code's threads are those of one call.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(super) fn launch<A: Copy>(
    elements: Elements,
    kernel: &str,
    grid: [u32; 3],
    block: [u32; 2],
    args: &A,
) -> Result<()> {
    let run: Run = match (elements.bf16, elements.pack) {
        (false, 1) => ddpm_run_f32_1,
        (false, 4) => ddpm_run_f32_4,
        (true, 1) => ddpm_run_bf16_1,
        (true, 8) => ddpm_run_bf16_8,
        _ => bail!("no kernels for {elements:?}"),
    };
    let name = CString::new(kernel).map_err(candle_core::Error::wrap)?;
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: `args` is the twin of the kernel's structure, with addresses of live memory of the sizes that its numbers say
    // (see `launch::launch`); one call at a time uses the C code's threads.
    let code = unsafe { run(name.as_ptr(), std::ptr::from_ref(args).cast(), grid.as_ptr(), block.as_ptr()) };
    match code {
        0 => Ok(()),
        code => bail!("kernel {kernel}: the emulator says {code}"),
    }
}
