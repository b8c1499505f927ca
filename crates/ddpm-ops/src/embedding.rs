//! Rows of a table.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::cpu;
use crate::cpu::buffer::Buffer;
use crate::tape::{Gradients, Tape, Value};

impl Tape {
    /// Row `rows[i]` of a table for each image i, of the kind that `like` is of.
    ///
    /// # Shapes
    /// `table` [row, feature]; the result is [image, feature].
    ///
    /// # Errors
    /// When there is no such row.
    pub fn embedding(&self, table: &Tensor, rows: &[usize], like: &Value) -> Result<Value> {
        let (count, features) = table.dims2()?;
        if let Some(row) = rows.iter().find(|row| **row >= count) {
            bail!("embedding: expected rows from 0 to {}, found {row}", count.saturating_sub(1));
        }
        if like.fused().is_none() {
            return self.device_embedding(table, rows);
        }
        let mut out = Buffer::new(rows.len() * features);
        cpu::with_slice(table, |table| {
            for (to, row) in out.chunks_exact_mut(features.max(1)).zip(rows) {
                to.copy_from_slice(&table[row * features..(row + 1) * features]);
            }
            Ok(())
        })?;
        Ok(self.push(Arc::new(out), &[rows.len(), features], &[], &[table], || {
            let (table, rows) = (table.clone(), rows.to_vec());
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                let mut to = Buffer::zeros(count * features);
                for (grad, row) in grad.chunks_exact(features.max(1)).zip(rows) {
                    to[row * features..(row + 1) * features].iter_mut().zip(grad).for_each(|(to, grad)| *to += grad);
                }
                gradients.add_parameter(&table, to);
                Ok(())
            })
        }))
    }
}
