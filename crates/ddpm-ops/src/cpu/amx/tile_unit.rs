//! Products of tiles on the unit that this process uses.

use std::sync::OnceLock;

use crate::cpu::amx::emulated;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::cpu::amx::instructions::{self, Configured};
use crate::cpu::amx::operands::{BLOCK, Bf16Storage, Factor, Initial, OutputBlock, StepOffsets, TILE};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use crate::cpu::amx::permission;

/// The implementations of products of tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Implementation {
    /// The processor's instructions, which the operating system has permitted.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Processor,
    /// Plain code, if the environment variable `DDPM_EMULATE_AMX` is set.
    Emulated,
}

/// The implementation that this process uses; None if there is none, or if the environment variable `DDPM_NO_AMX` is
/// set.
fn implementation() -> Option<Implementation> {
    static IMPLEMENTATION: OnceLock<Option<Implementation>> = OnceLock::new();
    let is_set = |name| std::env::var_os(name).is_some();
    *IMPLEMENTATION.get_or_init(|| {
        if is_set("DDPM_NO_AMX") {
            return None;
        }
        if is_set("DDPM_EMULATE_AMX") {
            return Some(Implementation::Emulated);
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if permission::request() {
            return Some(Implementation::Processor);
        }
        None
    })
}

/// Whether this process can multiply tiles.
pub(crate) fn available() -> bool {
    implementation().is_some()
}

/// The tile registers of this thread, configured for as long as the value lives. It cannot be sent to another thread.
pub(crate) enum TileUnit {
    /// The tile registers of the processor.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Processor(Configured),
    /// No registers, because the products are computed in plain code.
    Emulated,
}

impl TileUnit {
    /// Configures this thread's tile registers. None if [`available`] is false.
    pub(crate) fn configure() -> Option<Self> {
        Some(match implementation()? {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Implementation::Processor => Self::Processor(Configured::new()),
            Implementation::Emulated => Self::Emulated,
        })
    }

    /// Computes `initial` + a b over all steps for a block of 32 × 32 values of the output.
    ///
    /// A row of a tile of `a` is 32 terms of one output row. A row of a tile of `b` is two terms of 16 output columns,
    /// column by column. The tiles of `a` are `a_step` elements further at each step, those of `b` at `b_offsets`.
    ///
    /// # Panics
    /// When a tile would lie outside of its slice: a bug of the caller.
    // Inlined because the arguments would otherwise pass through memory and be read back in other sizes than they were
    // written in. Such loads wait until the stores of the previous call's output have completed.
    #[inline(always)]
    pub(crate) fn multiply<A: Bf16Storage, B: Bf16Storage, const PARTS: usize>(
        &self,
        a: Factor<'_, A, PARTS>,
        a_step: usize,
        b: Factor<'_, B, PARTS>,
        b_offsets: &StepOffsets,
        out: OutputBlock<'_>,
        initial: Initial<'_>,
    ) {
        const { assert!(PARTS == 2 || PARTS == 3) };
        let steps = b_offsets.steps();
        if steps == 0 {
            return;
        }
        let a_first = a.checked((steps - 1) * a_step * size_of::<A>());
        let b_first = b.checked(b_offsets.largest());
        let end = out.first + (BLOCK - 1) * out.row_stride + out.tile_stride + TILE;
        assert!(end <= out.values.len(), "a tile ends outside of the output");
        let b_offsets = b_offsets.bytes();
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Processor(configured) => {
                instructions::multiply(configured, &a, a_first, a_step, &b, b_first, b_offsets, out, initial);
            }
            Self::Emulated => emulated::multiply(&a, a_first, a_step, &b, b_first, b_offsets, out, initial),
        }
    }
}
