//! What a caller needs of a decoded image, and the memory that decoding may take.

use std::sync::{Condvar, Mutex, PoisonError};

/// The number of pixels that all threads may decode at a time. A thread waits until there is room for its image.
#[derive(Debug)]
pub struct PixelBudget {
    limit: u64,
    reserved: Mutex<u64>,
    freed: Condvar,
}

impl PixelBudget {
    /// A budget of `limit` pixels.
    pub fn new(limit: u64) -> Self {
        Self { limit, reserved: Mutex::new(0), freed: Condvar::new() }
    }

    fn reserve(&self, pixels: u64) {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        while *reserved + pixels > self.limit {
            reserved = self.freed.wait(reserved).unwrap_or_else(PoisonError::into_inner);
        }
        *reserved += pixels;
    }

    fn free(&self, pixels: u64) {
        *self.reserved.lock().unwrap_or_else(PoisonError::into_inner) -= pixels;
        self.freed.notify_all();
    }
}

/// A request to decode one image. It holds its part of the budget until it is dropped, so it is kept as long as the
/// decoded image.
#[derive(Debug)]
pub struct DecodeRequest<'a> {
    shorter_side: usize,
    budget: Option<&'a PixelBudget>,
    reserved: u64,
}

impl<'a> DecodeRequest<'a> {
    /// A request for the image in its own size, without a budget.
    pub fn full_size() -> Self {
        Self { shorter_side: usize::MAX, budget: None, reserved: 0 }
    }

    /// A request for the image in its own size, or smaller if that is faster to decode, but with a shorter side of at
    /// least `shorter_side` pixels.
    pub fn at_least(shorter_side: usize, budget: &'a PixelBudget) -> Self {
        Self { shorter_side, budget: Some(budget), reserved: 0 }
    }

    /// The smallest shorter side, in pixels, that a reduced image may have.
    pub fn shorter_side(&self) -> usize {
        self.shorter_side
    }

    /// Reserves room for an image of this many pixels, and waits for it if other threads have taken it. It is called
    /// once for each image, before memory is allocated.
    ///
    /// # Errors
    /// When the image has more pixels than the whole budget; the message says so.
    pub fn reserve(&mut self, pixels: u64) -> Result<(), String> {
        let Some(budget) = self.budget else { return Ok(()) };
        if pixels > budget.limit {
            return Err(format!("expected at most data.max_image_pixels = {} pixels, found {pixels}", budget.limit));
        }
        // A second reservation could wait for the first one.
        self.free();
        budget.reserve(pixels);
        self.reserved = pixels;
        Ok(())
    }

    fn free(&mut self) {
        if let Some(budget) = self.budget {
            budget.free(std::mem::take(&mut self.reserved));
        }
    }
}

impl Drop for DecodeRequest<'_> {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn threads_share_the_budget() {
        let budget = PixelBudget::new(100);
        let (pixels, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for size in [40, 60, 100, 1] {
                let (budget, pixels, most) = (&budget, &pixels, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let mut request = DecodeRequest::at_least(1, budget);
                        request.reserve(size).unwrap();
                        let now = pixels.fetch_add(size, Ordering::SeqCst) + size;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        pixels.fetch_sub(size, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 100);
        assert_eq!(*budget.reserved.lock().unwrap(), 0);
        let error = DecodeRequest::at_least(1, &budget).reserve(101).unwrap_err();
        assert_eq!(error, "expected at most data.max_image_pixels = 100 pixels, found 101");
    }
}
