//! Permission to use the tile registers, which Linux grants a process on request.
#![allow(unsafe_code, reason = "a system call that libc has no safe function for")]

use std::arch::x86_64::{__cpuid, __cpuid_count};

/// Requests permission from Linux to use the tile registers, for the whole process. False if the processor or Linux
/// does not support them.
pub(super) fn request() -> bool {
    const TILE_DATA: libc::c_ulong = 18;
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    // CPUID leaf 7: EDX bit 22 is AMX-BF16, bit 24 AMX-TILE.
    let has_unit = __cpuid(0).eax >= 7 && {
        let leaf = __cpuid_count(7, 0);
        leaf.edx >> 22 & 1 == 1 && leaf.edx >> 24 & 1 == 1
    };
    // The code that packs operands for the tiles needs AVX-512 to be fast. No processor has AMX without it.
    has_unit && is_x86_feature_detected!("avx512f") && {
        // SAFETY: this request reads and writes no memory of this process. It fails if Linux does not support the unit.
        let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) };
        refused == 0
    }
}
