//! Embeddings: rows of a table.

use candle_core::{Result, Tensor, bail};

use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// Row `rows[i]` of a table for each image i.
    ///
    /// # Shapes
    /// `table` [row, feature]; the result is [image, feature].
    ///
    /// # Errors
    /// When the table has no such row.
    pub fn embedding(&self, table: &Tensor, rows: &[usize]) -> Result<Value> {
        let (count, _) = table.dims2()?;
        if let Some(row) = rows.iter().find(|row| **row >= count) {
            bail!("embedding: expected rows from 0 to {}, found {row}", count.saturating_sub(1));
        }
        self.backend.embedding(table, rows)
    }
}
