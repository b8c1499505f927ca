//! The backward step of a part of the pass that is computed a second time instead of saving its tensors.

use std::any::Any;

use candle_core::{Error, Result};

use crate::tape::gradients::{Accumulate, Gradients};
use crate::tape::record::Record;

/// Runs a part of the pass a second time, now recording it.
pub(crate) type Recompute = Box<dyn FnOnce() -> Result<Recomputed> + Send>;

/// A part of the pass that has been run a second time.
pub(crate) struct Recomputed {
    /// The [`Record`] of the second time.
    pub(crate) record: Box<dyn Any>,
    /// The node of the result in that record.
    pub(crate) output: usize,
    /// For each input that needs a gradient, its node in that record and its node in the record of the whole pass.
    pub(crate) inputs: Vec<(usize, usize)>,
}

impl Recomputed {
    /// Differentiates the part and adds its gradients to those of the whole pass.
    ///
    /// # Errors
    /// When an operation of the part fails, or the record is one of another backend.
    pub(crate) fn backward<G: Accumulate>(self, gradient: G, gradients: &mut Gradients<G>) -> Result<()> {
        let record: Box<Record<G>> = self.record.downcast().map_err(|_| {
            Error::msg("a recomputed part of the pass was recorded by another backend than the pass").bt()
        })?;
        let mut part = record.backward(self.output, gradient, None)?;
        for (node, outer) in self.inputs {
            if let Some(gradient) = part.take(node) {
                gradients.add(Some(outer), gradient);
            }
        }
        gradients.merge_parameters(part);
        Ok(())
    }
}
