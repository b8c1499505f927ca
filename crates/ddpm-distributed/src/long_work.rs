//! Work of one rank that takes longer than the others would wait.

use std::any::Any;

/// The guard of [`Communicator::long_work`](crate::Communicator::long_work).
#[must_use = "the time counts again when the guard is dropped"]
#[derive(Debug, Default)]
pub struct LongWork {
    /// What ends the work when it is dropped.
    _ends: Option<Ends>,
}

struct Ends(#[expect(dead_code, reason = "only its drop matters")] Box<dyn Any + Send>);

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ends")
    }
}

impl LongWork {
    /// Work that ends when `guard` is dropped.
    #[cfg(feature = "mpi")]
    pub(crate) fn until_dropped(guard: impl Any + Send) -> Self {
        Self { _ends: Some(Ends(Box::new(guard))) }
    }
}
