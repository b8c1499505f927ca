//! The instructions themselves.
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::mem::offset_of;

use super::{Factor, Onto, Product, TILE, Tiles};

/// Asks the kernel for the tile registers, once for the whole process.
pub(super) fn request() -> bool {
    const TILE_DATA: libc::c_ulong = 18;
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    // Leaf 7: EDX bit 22 is AMX-BF16, bit 24 AMX-TILE.
    let has_unit = __cpuid(0).eax >= 7 && {
        let leaf = __cpuid_count(7, 0);
        leaf.edx >> 22 & 1 == 1 && leaf.edx >> 24 & 1 == 1
    };
    // The packing that feeds the tiles is compiled for AVX-512; no processor has one without the other.
    has_unit && is_x86_feature_detected!("avx512f") && {
        // SAFETY: this request reads and writes no memory of ours. It fails where the kernel has no support.
        let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) };
        refused == 0
    }
}

/// Eight tiles of 16 rows of 64 bytes (Intel SDM, volume 1, section 18.2.1: palette 1, bytes a row from byte 16, rows from 48).
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

pub(super) fn configure() {
    static HERE: Configuration = CONFIGURATION;
    // SAFETY: only called where `request` succeeded; the instruction reads the 64 bytes that it is given.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &HERE, options(nostack, readonly, preserves_flags)) };
}

pub(super) fn release() {
    // SAFETY: only called by the drop of a `Tiles`, so where the unit exists.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
}

/// Everything that a kernel reads; strides in bytes.
#[repr(C)]
struct Arguments {
    onto: *const f32,
    onto_row: usize,
    onto_next: usize,
    onto_down: usize,
    out: *mut f32,
    out_row: usize,
    out_next: usize,
    out_down: usize,
    a_high: *const u8,
    a_middle: *const u8,
    a_low: *const u8,
    a_row: usize,
    a_next: usize,
    a_step: usize,
    b_high: *const u8,
    b_middle: *const u8,
    b_low: *const u8,
    b_row: usize,
    b_next: usize,
    b_offsets: *const usize,
    steps: usize,
}

static ZEROS: [f32; TILE] = [0.0; TILE];

/// The kernel around the products of one step, which `$body` lists.
///
/// In the body: tiles 0 to 3 are the sums, 4 and 5 the two tiles of `a`, 6 and 7 those of `b`; `r8`, `r9` and `rdi` point to the
/// parts of `a` (row stride `r10`, to the second tile `rcx`), `r12`, `r13` and the address at `[rsp + 8]` to those of `b` (row
/// stride `r11`, to the second tile `rdx`); `rax` is this step's offset in `b`, and `rsi` is free.
macro_rules! kernel {
    ($arguments:expr, $($body:literal),+ $(,)?) => {
        asm!(
            "push rdi",
            // The sums so far: 0 and 1 are the upper row of tiles, 2 and 3 the lower one.
            "mov rax, [rdi + {onto}]",
            "mov rcx, [rdi + {onto_row}]",
            "mov rdx, [rdi + {onto_next}]",
            "mov rsi, [rdi + {onto_down}]",
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
            "mov rcx, [rdi + {a_next}]",
            "mov r12, [rdi + {b_high}]",
            "mov r13, [rdi + {b_middle}]",
            "mov r11, [rdi + {b_row}]",
            "mov rdx, [rdi + {b_next}]",
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
            "mov rdx, [rdi + {out_next}]",
            "mov rsi, [rdi + {out_down}]",
            "lea r8, [rax + rdx]",
            "tilestored [rax + rcx*1], tmm0",
            "tilestored [r8 + rcx*1], tmm1",
            "add rax, rsi",
            "add r8, rsi",
            "tilestored [rax + rcx*1], tmm2",
            "tilestored [r8 + rcx*1], tmm3",
            onto = const offset_of!(Arguments, onto),
            onto_row = const offset_of!(Arguments, onto_row),
            onto_next = const offset_of!(Arguments, onto_next),
            onto_down = const offset_of!(Arguments, onto_down),
            out = const offset_of!(Arguments, out),
            out_row = const offset_of!(Arguments, out_row),
            out_next = const offset_of!(Arguments, out_next),
            out_down = const offset_of!(Arguments, out_down),
            a_high = const offset_of!(Arguments, a_high),
            a_middle = const offset_of!(Arguments, a_middle),
            a_low = const offset_of!(Arguments, a_low),
            a_row = const offset_of!(Arguments, a_row),
            a_next = const offset_of!(Arguments, a_next),
            a_step = const offset_of!(Arguments, a_step),
            b_high = const offset_of!(Arguments, b_high),
            b_middle = const offset_of!(Arguments, b_middle),
            b_low = const offset_of!(Arguments, b_low),
            b_row = const offset_of!(Arguments, b_row),
            b_next = const offset_of!(Arguments, b_next),
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

#[allow(clippy::too_many_arguments, reason = "the arguments of a product of tiles")]
#[inline(always)]
pub(super) fn multiply<A, B, const PARTS: usize>(
    _configured: &Tiles,
    a: &Factor<'_, A, PARTS>,
    a_first: usize,
    a_step: usize,
    b: &Factor<'_, B, PARTS>,
    b_first: usize,
    b_offsets: &[usize],
    out: Product<'_>,
    onto: Onto<'_>,
) {
    const FLOAT: usize = size_of::<f32>();
    let (size_a, size_b) = (size_of::<A>(), size_of::<B>());
    let to = out.values[out.first..].as_mut_ptr();
    let (row, next) = (out.row * FLOAT, out.next * FLOAT);
    let (onto, onto_row, onto_next) = match onto {
        Onto::Zero => (ZEROS.as_ptr(), 0, 0),
        Onto::Output => (to.cast_const(), row, next),
        Onto::Rows(rows) => (rows.as_ptr(), TILE * FLOAT, 0),
    };
    let a_part = |part: usize| a.parts[part].as_ptr().cast::<u8>().wrapping_add(a_first);
    let b_part = |part: usize| b.parts[part].as_ptr().cast::<u8>().wrapping_add(b_first);
    let arguments = Arguments {
        onto,
        onto_row,
        onto_next,
        onto_down: TILE * onto_row,
        out: to,
        out_row: row,
        out_next: next,
        out_down: TILE * row,
        a_high: a_part(0),
        a_middle: a_part(1),
        a_low: a_part(PARTS - 1),
        a_row: a.row * size_a,
        a_next: a.next * size_a,
        a_step: a_step * size_a,
        b_high: b_part(0),
        b_middle: b_part(1),
        b_low: b_part(PARTS - 1),
        b_row: b.row * size_b,
        b_next: b.next * size_b,
        b_offsets: b_offsets.as_ptr(),
        steps: b_offsets.len(),
    };
    // SAFETY, of both: `Tiles::multiply` has checked that all tiles of `a`, `b` and the output lie in their slices, and the
    // tiles of `onto` are the output's, 32 rows of 16 values, or one row of zeros at stride 0. The output is borrowed mutably,
    // so the factors do not overlap it. A `Tiles` exists, so this thread's tiles are configured; the compiler uses none of
    // them. All registers that change are declared, or saved on the stack as `rdi` is.
    if PARTS == 3 {
        // SAFETY: as above.
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
        // SAFETY: as above.
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
