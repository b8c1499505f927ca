//! The embedding of class labels.

use candle_core::{Result, Tensor};
use ddpm_ops::{Tape, Value};

use crate::layers::{Embedding, TimeEmbedding};

/// The embedding of a class label, which is added to the time embedding: diffusers' `class_embedding`.
#[derive(Debug)]
pub enum ClassEmbedding {
    /// A learned vector for each class.
    Table(Embedding),
    /// The label is embedded as a timestep is.
    Timestep(TimeEmbedding),
    /// The labels are embeddings already, [batch, time_channels].
    Identity,
}

impl ClassEmbedding {
    /// Labels `[batch]`, or [batch, time_channels] for [`ClassEmbedding::Identity`], to [batch, time_channels].
    ///
    /// # Errors
    /// When a label is not a row of the table, or when the labels have another shape.
    pub fn forward(&self, tape: &Tape, labels: &Tensor) -> Result<Value> {
        match self {
            Self::Table(table) => table.forward(tape, labels),
            Self::Timestep(embedding) => embedding.forward(tape, labels),
            Self::Identity => tape.constant(labels),
        }
    }
}
