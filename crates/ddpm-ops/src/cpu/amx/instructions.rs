//! The AMX instructions, in assembly.
#![allow(unsafe_code, reason = "Rust has no stable intrinsics for AMX")]

use std::arch::asm;
use std::marker::PhantomData;
use std::mem::offset_of;

use crate::cpu::amx::operands::{Factor, Initial, OutputBlock, TILE};

/// The configuration of eight tiles of 16 rows of 64 bytes (Intel SDM, volume 1, section 18.2.1): palette 1, the bytes
/// of a row of each tile from byte 16, the numbers of rows from byte 48.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

const CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = TILE as u8;
        tile += 1;
    }
    Configuration(bytes)
};

/// Proof that this thread's tile registers are configured. They are released when it is dropped.
pub(crate) struct Configured {
    /// The registers are those of this thread, so the proof must not be sent to another.
    _thread: PhantomData<*const ()>,
}

impl Configured {
    /// Configures the tile registers. To be called only after [`super::permission::request`] has succeeded.
    pub(super) fn new() -> Self {
        static STATIC: Configuration = CONFIGURATION;
        // SAFETY: permission has been granted, so the instruction exists. It reads the 64 bytes that it is given.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &STATIC, options(nostack, readonly, preserves_flags)) };
        Self { _thread: PhantomData }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: a `Configured` exists only where the instructions exist.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// The arguments of the assembly. Strides, steps and offsets are in bytes.
#[repr(C)]
struct Arguments {
    initial: *const f32,
    initial_row: usize,
    initial_tile: usize,
    initial_down: usize,
    out: *mut f32,
    out_row: usize,
    out_tile: usize,
    out_down: usize,
    a_high: *const u8,
    a_middle: *const u8,
    a_low: *const u8,
    a_row: usize,
    a_tile: usize,
    a_step: usize,
    b_high: *const u8,
    b_middle: *const u8,
    b_low: *const u8,
    b_row: usize,
    b_tile: usize,
    b_offsets: *const usize,
    steps: usize,
}

static ZEROS: [f32; TILE] = [0.0; TILE];

/// The loop over all steps, with the loads and stores of the sums around it. `$body` lists the instructions of one
/// step.
///
/// In the body, tiles 0 to 3 are the sums, 4 and 5 the two tiles of `a`, 6 and 7 those of `b`. `r8`, `r9` and `rdi`
/// point to the high, middle and low part of `a`, with row stride `r10` and tile stride `rcx`. `r12`, `r13` and the
/// address at `[rsp + 8]` point to those of `b`, with row stride `r11` and tile stride `rdx`. `rax` is this step's
/// offset in `b`, and `rsi` is free.
macro_rules! kernel {
    ($arguments:expr, $($body:literal),+ $(,)?) => {
        asm!(
            "push rdi",
            // The initial sums: tiles 0 and 1 are the upper row of the block, tiles 2 and 3 the lower row.
            "mov rax, [rdi + {initial}]",
            "mov rcx, [rdi + {initial_row}]",
            "mov rdx, [rdi + {initial_tile}]",
            "mov rsi, [rdi + {initial_down}]",
            "lea r8, [rax + rdx]",
            "tileloadd tmm0, [rax + rcx*1]",
            "tileloadd tmm1, [r8 + rcx*1]",
            "add rax, rsi",
            "add r8, rsi",
            "tileloadd tmm2, [rax + rcx*1]",
            "tileloadd tmm3, [r8 + rcx*1]",
            "push qword ptr [rdi + {b_low}]",
            "mov r8, [rdi + {a_high}]",
            "mov r9, [rdi + {a_middle}]",
            "mov r10, [rdi + {a_row}]",
            "mov rcx, [rdi + {a_tile}]",
            "mov r12, [rdi + {b_high}]",
            "mov r13, [rdi + {b_middle}]",
            "mov r11, [rdi + {b_row}]",
            "mov rdx, [rdi + {b_tile}]",
            "mov r14, [rdi + {b_offsets}]",
            "mov r15, [rdi + {steps}]",
            "push qword ptr [rdi + {a_step}]",
            "mov rdi, [rdi + {a_low}]",
            "2:",
            "mov rax, [r14]",
            "add r14, 8",
            $($body,)+
            "add r8, [rsp]",
            "add r9, [rsp]",
            "add rdi, [rsp]",
            "dec r15",
            "jnz 2b",
            "add rsp, 16",
            "pop rdi",
            "mov rax, [rdi + {out}]",
            "mov rcx, [rdi + {out_row}]",
            "mov rdx, [rdi + {out_tile}]",
            "mov rsi, [rdi + {out_down}]",
            "lea r8, [rax + rdx]",
            "tilestored [rax + rcx*1], tmm0",
            "tilestored [r8 + rcx*1], tmm1",
            "add rax, rsi",
            "add r8, rsi",
            "tilestored [rax + rcx*1], tmm2",
            "tilestored [r8 + rcx*1], tmm3",
            initial = const offset_of!(Arguments, initial),
            initial_row = const offset_of!(Arguments, initial_row),
            initial_tile = const offset_of!(Arguments, initial_tile),
            initial_down = const offset_of!(Arguments, initial_down),
            out = const offset_of!(Arguments, out),
            out_row = const offset_of!(Arguments, out_row),
            out_tile = const offset_of!(Arguments, out_tile),
            out_down = const offset_of!(Arguments, out_down),
            a_high = const offset_of!(Arguments, a_high),
            a_middle = const offset_of!(Arguments, a_middle),
            a_low = const offset_of!(Arguments, a_low),
            a_row = const offset_of!(Arguments, a_row),
            a_tile = const offset_of!(Arguments, a_tile),
            a_step = const offset_of!(Arguments, a_step),
            b_high = const offset_of!(Arguments, b_high),
            b_middle = const offset_of!(Arguments, b_middle),
            b_low = const offset_of!(Arguments, b_low),
            b_row = const offset_of!(Arguments, b_row),
            b_tile = const offset_of!(Arguments, b_tile),
            b_offsets = const offset_of!(Arguments, b_offsets),
            steps = const offset_of!(Arguments, steps),
            in("rdi") &raw const $arguments,
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
        )
    };
}

/// Computes `initial` + a b over all steps. `a_first`, `b_first` and `b_offsets` are in bytes, `a_step` in elements.
///
/// The caller has checked that all tiles lie within their slices.
#[allow(clippy::too_many_arguments, reason = "the arguments of a product of tiles")]
#[inline(always)]
pub(super) fn multiply<A, B, const PARTS: usize>(
    _configured: &Configured,
    a: &Factor<'_, A, PARTS>,
    a_first: usize,
    a_step: usize,
    b: &Factor<'_, B, PARTS>,
    b_first: usize,
    b_offsets: &[usize],
    out: OutputBlock<'_>,
    initial: Initial<'_>,
) {
    const FLOAT: usize = size_of::<f32>();
    let (size_a, size_b) = (size_of::<A>(), size_of::<B>());
    let to = out.values[out.first..].as_mut_ptr();
    let (row, tile) = (out.row_stride * FLOAT, out.tile_stride * FLOAT);
    let (initial, initial_row, initial_tile) = match initial {
        Initial::Zero => (ZEROS.as_ptr(), 0, 0),
        Initial::Output => (to.cast_const(), row, tile),
        Initial::Rows(rows) => (rows.as_ptr(), TILE * FLOAT, 0),
    };
    let a_part = |part: usize| a.parts[part].as_ptr().cast::<u8>().wrapping_add(a_first);
    let b_part = |part: usize| b.parts[part].as_ptr().cast::<u8>().wrapping_add(b_first);
    let arguments = Arguments {
        initial,
        initial_row,
        initial_tile,
        initial_down: TILE * initial_row,
        out: to,
        out_row: row,
        out_tile: tile,
        out_down: TILE * row,
        a_high: a_part(0),
        a_middle: a_part(1),
        a_low: a_part(PARTS - 1),
        a_row: a.row_stride * size_a,
        a_tile: a.tile_stride * size_a,
        a_step: a_step * size_a,
        b_high: b_part(0),
        b_middle: b_part(1),
        b_low: b_part(PARTS - 1),
        b_row: b.row_stride * size_b,
        b_tile: b.tile_stride * size_b,
        b_offsets: b_offsets.as_ptr(),
        steps: b_offsets.len(),
    };
    // The argument for both blocks of assembly. `TileUnit::multiply` has checked that all tiles of `a`, `b` and the
    // output lie within their slices. The initial sums are the output's, 32 rows of 16 values, or one row of zeros at
    // stride 0. The output is borrowed mutably, so the factors do not overlap it. A `Configured` exists, so this
    // thread's tile registers are configured, and the compiler uses none of them. All registers that change are
    // declared, except `rdi`, which is saved on the stack and restored.
    if PARTS == 3 {
        // SAFETY: see the argument above.
        unsafe {
            kernel!(
                arguments,
                // a high · b low
                "mov rsi, [rsp + 8]",
                "add rsi, rax",
                "tileloadd tmm6, [rsi + r11*1]",
                "tileloadd tmm4, [r8 + r10*1]",
                "add rsi, rdx",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [rsi + r11*1]",
                "lea rsi, [r8 + rcx]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [rsi + r10*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // a high · b middle
                "lea rsi, [r13 + rax]",
                "tileloadd tmm6, [rsi + r11*1]",
                "add rsi, rdx",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [rsi + r11*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // a high · b high
                "lea rsi, [r12 + rax]",
                "tileloadd tmm6, [rsi + r11*1]",
                "add rsi, rdx",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [rsi + r11*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // a low · b high
                "tileloadd tmm4, [rdi + r10*1]",
                "lea rsi, [rdi + rcx]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [rsi + r10*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // a middle · b high
                "tileloadd tmm4, [r9 + r10*1]",
                "lea rsi, [r9 + rcx]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [rsi + r10*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // a middle · b middle
                "lea rsi, [r13 + rax]",
                "tileloadd tmm6, [rsi + r11*1]",
                "add rsi, rdx",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [rsi + r11*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
            );
        };
    } else {
        // SAFETY: see the argument above.
        unsafe {
            kernel!(
                arguments,
                // a high · b middle
                "lea rsi, [r13 + rax]",
                "tileloadd tmm6, [rsi + r11*1]",
                "tileloadd tmm4, [r8 + r10*1]",
                "add rsi, rdx",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [rsi + r11*1]",
                "lea rsi, [r8 + rcx]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [rsi + r10*1]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // a high · b high
                "lea rsi, [r12 + rax]",
                "tileloadd tmm6, [rsi + r11*1]",
                "add rsi, rdx",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [rsi + r11*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // a middle · b high
                "tileloadd tmm4, [r9 + r10*1]",
                "lea rsi, [r9 + rcx]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [rsi + r10*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
            );
        };
    }
}
