//! The matrix unit of Intel's server cores since 2023 (AMX): products of 16-bit tiles, summed in f32.
//!
//! One core multiplies bf16 tiles some thirty times as fast as it does f32 vectors. Three bf16 hold every bit of an f32, two all
//! but the last seven, so f32 products are sums of products of parts:
//!
//! * six of them for three parts (those of the parts' orders 0 + 0, 0 + 1, 1 + 0, 1 + 1, 0 + 2, 2 + 0), whose error is that of f32
//!   arithmetic: what is left out is below 2⁻²⁶;
//! * three of them for two parts, with an error of a few 1e-6 of the result: for sums that nothing is computed from, such as the
//!   gradient of a weight.
//!
//! `split.rs` takes numbers apart, this file multiplies; `emulated.rs` does the same without the unit, for tests.
//!
//! `unsafe` is here because the instructions have no stable intrinsics. [`Tiles::multiply`] is safe to call: it checks that
//! every byte which the tiles touch lies inside the slices it is given.

use std::marker::PhantomData;

mod emulated;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod instructions;

/// Rows of a tile, and f32 or pairs of bf16 in a row.
pub(crate) const TILE: usize = 16;

/// Rows and columns of the block of the output that one call computes: 2 × 2 tiles.
pub(crate) const BLOCK: usize = 2 * TILE;

/// How many terms of each sum one step adds.
pub(crate) const DEPTH: usize = 2 * TILE;

/// What multiplies tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// The processor, whose kernel lets this process use it.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Processor,
    /// Plain code, where the environment variable `DDPM_EMULATE_AMX` asks for it.
    Emulated,
}

/// What this process multiplies tiles with, if with anything.
fn unit() -> Option<Unit> {
    static UNIT: std::sync::OnceLock<Option<Unit>> = std::sync::OnceLock::new();
    let is_set = |name| std::env::var_os(name).is_some();
    *UNIT.get_or_init(|| {
        if is_set("DDPM_NO_AMX") {
            return None;
        }
        if is_set("DDPM_EMULATE_AMX") {
            return Some(Unit::Emulated);
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if instructions::request() {
            return Some(Unit::Processor);
        }
        None
    })
}

/// Whether this machine has the unit and the kernel lets this process use it.
pub(crate) fn available() -> bool {
    unit().is_some()
}

/// Proof that this thread's tiles are configured; released when dropped.
pub(crate) struct Tiles {
    unit: Unit,
    /// Of this thread, so not to be sent.
    _thread: PhantomData<*const ()>,
}

/// What holds the parts of numbers: pairs of bf16, or single ones.
pub(crate) trait Parts: Copy {
    /// The bf16 number `index` of a slice.
    fn bf16(slice: &[Self], index: usize) -> u16;
}

impl Parts for u16 {
    fn bf16(slice: &[Self], index: usize) -> u16 {
        slice[index]
    }
}

impl Parts for u32 {
    fn bf16(slice: &[Self], index: usize) -> u16 {
        (slice[index / 2] >> (16 * (index % 2))) as u16
    }
}

/// Where the tiles of a factor lie: row r of tile h at step s starts at element `first + h · next + r · row + offset(s)`.
/// Elements are pairs of bf16, or single ones where a pair may start anywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factor<'a, T, const PARTS: usize> {
    /// The numbers rounded to bf16, then what that left, rounded again, and so on.
    pub(crate) parts: [&'a [T]; PARTS],
    pub(crate) first: usize,
    pub(crate) next: usize,
    pub(crate) row: usize,
}

/// Where the 2 × 2 tiles of the output lie: row r, column c at `first + r · row + c`, the second column of tiles `next` on.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) first: usize,
    pub(crate) next: usize,
    pub(crate) row: usize,
}

/// What the product is added to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Onto<'a> {
    /// Nothing.
    Zero,
    /// What the output holds.
    Output,
    /// Each row's own value, `BLOCK` rows of `TILE` copies.
    Rows(&'a [f32; BLOCK * TILE]),
}

/// The offsets of a factor's tiles at each step, with their maximum at hand.
#[derive(Debug, Clone)]
pub(crate) struct Offsets {
    bytes: Vec<usize>,
    largest: usize,
}

impl Offsets {
    /// Of offsets counted in elements of `size` bytes.
    pub(crate) fn new(offsets: impl IntoIterator<Item = usize>, size: usize) -> Self {
        let bytes: Vec<usize> = offsets.into_iter().map(|offset| offset * size).collect();
        let largest = bytes.iter().copied().max().unwrap_or(0);
        Self { bytes, largest }
    }

    pub(crate) fn steps(&self) -> usize {
        self.bytes.len()
    }
}

impl<T, const PARTS: usize> Factor<'_, T, PARTS> {
    /// The first byte of the tiles, after a check that all of them, and what `furthest` bytes on, are inside the slices.
    #[inline(always)]
    fn checked(&self, furthest: usize) -> usize {
        let size = size_of::<T>();
        let last_row = (self.first + self.next + (TILE - 1) * self.row) * size;
        let end = last_row + furthest + 4 * TILE;
        assert!(self.parts.iter().all(|part| end <= size_of_val(*part)), "a tile ends outside of its factor");
        self.first * size
    }
}

impl Tiles {
    /// Configures this thread's tiles; None where there are none.
    pub(crate) fn configure() -> Option<Self> {
        let unit = unit()?;
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if unit == Unit::Processor {
            instructions::configure();
        }
        Some(Self { unit, _thread: PhantomData })
    }

    /// `onto` + a b over all steps, for 32 × 32 values of the output.
    ///
    /// A row of an `a` tile is 32 terms of one output row; a row of a `b` tile is two terms of 16 output columns, column by
    /// column. The tiles of `a` are `a_step` elements further at each step, those of `b` at `b_offsets`.
    ///
    /// # Panics
    /// When a tile would lie outside of its slice: a bug of the caller.
    // Inlined because arguments that pass through memory are read back in other pieces than they were written in, which has to
    // wait until the output of the call before is stored.
    #[inline(always)]
    pub(crate) fn multiply<A: Parts, B: Parts, const PARTS: usize>(
        &self,
        a: Factor<'_, A, PARTS>,
        a_step: usize,
        b: Factor<'_, B, PARTS>,
        b_offsets: &Offsets,
        out: Product<'_>,
        onto: Onto<'_>,
    ) {
        const { assert!(PARTS == 2 || PARTS == 3) };
        let steps = b_offsets.steps();
        if steps == 0 {
            return;
        }
        let a_first = a.checked((steps - 1) * a_step * size_of::<A>());
        let b_first = b.checked(b_offsets.largest);
        let end = out.first + (BLOCK - 1) * out.row + out.next + TILE;
        assert!(end <= out.values.len(), "a tile ends outside of the output");
        let b_offsets = &b_offsets.bytes;
        match self.unit {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Unit::Processor => instructions::multiply(self, &a, a_first, a_step, &b, b_first, b_offsets, out, onto),
            Unit::Emulated => emulated::multiply(&a, a_first, a_step, &b, b_first, b_offsets, out, onto),
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.unit == Unit::Processor {
            instructions::release();
        }
    }
}
