//! The tape that a forward pass records its operations on.

use crate::backend::Backend;

/// The tape of one forward pass: it computes operations on [`Value`](crate::Value)s and records them for the backward
/// pass.
///
/// [`fused`](crate::fused) and [`recorded`](crate::recorded) create it, with the backend that suits their inputs.
#[derive(Debug)]
pub struct Tape {
    pub(crate) backend: Box<dyn Backend>,
}

impl Tape {
    pub(crate) fn new(backend: Box<dyn Backend>) -> Self {
        Self { backend }
    }
}
