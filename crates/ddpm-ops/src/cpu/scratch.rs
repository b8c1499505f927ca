//! Scratch memory of each thread, reused by later calls.
//!
//! The loops of a kernel pack their operands into temporary arrays of the same sizes over and over. Memory that is
//! allocated again each time costs a page fault every 4 KiB, which takes as long as filling it.

use std::cell::RefCell;

macro_rules! scratch {
    ($(#[$doc:meta])* $name:ident, $type:ty, $zero:expr) => {
        $(#[$doc])*
        ///
        /// The slice starts at a multiple of 64 bytes, a cache line. Its contents are arbitrary.
        /// A nested call of the same function gets memory of its own.
        pub(crate) fn $name<R>(len: usize, f: impl FnOnce(&mut [$type]) -> R) -> R {
            thread_local! {
                static SCRATCH: RefCell<Vec<$type>> = const { RefCell::new(Vec::new()) };
            }
            const LINE: usize = 64 / size_of::<$type>();
            // The memory is taken out of its slot while it is in use, so that a nested call finds an empty slot.
            let mut scratch = SCRATCH.with(RefCell::take);
            if scratch.len() < len + LINE {
                scratch.resize(len + LINE, $zero);
            }
            let start = scratch.as_ptr().align_offset(64).min(LINE);
            let result = f(&mut scratch[start..start + len]);
            SCRATCH.with(|slot| {
                // A nested call may have left longer memory in the slot.
                if slot.borrow().len() < scratch.len() {
                    slot.replace(scratch);
                }
            });
            result
        }
    };
}

scratch!(
    /// Calls `f` with `len` f32 of this thread's scratch memory.
    with_scratch,
    f32,
    0.0
);
scratch!(
    /// Calls `f` with `len` f32 of this thread's second scratch memory, for use inside of [`with_scratch`].
    with_second_scratch,
    f32,
    0.0
);
scratch!(
    /// Calls `f` with `len` pairs of bf16 of this thread's scratch memory.
    with_bf16_pairs,
    u32,
    0
);
scratch!(
    /// Calls `f` with `len` bf16 of this thread's scratch memory.
    with_bf16s,
    u16,
    0
);
scratch!(
    /// Calls `f` with `len` bf16 of this thread's second scratch memory, for use inside of [`with_bf16s`].
    with_second_bf16s,
    u16,
    0
);
