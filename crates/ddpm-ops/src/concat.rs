//! Channels of several tensors side by side.

use std::sync::Arc;

use candle_core::{Result, bail};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::tape::{Gradients, Tape, Value};

impl Tape {
    /// The channels of all parts, in their order.
    ///
    /// # Shapes
    /// Each part [batch, its channels, …]; the result is [batch, all channels, …].
    ///
    /// # Errors
    /// When there is no part, or parts differ in another axis than the channels.
    pub fn concat(&self, parts: &[&Value]) -> Result<Value> {
        let Some(&[batch, _, ref rest @ ..]) = parts.first().map(|part| part.dims()) else {
            bail!("concat: expected tensors of [batch, channel, …], found {:?}", parts.first().map(|part| part.dims()))
        };
        let fits = |part: &&Value| part.dims().len() > 1 && part.dims()[0] == batch && part.dims()[2..] == *rest;
        if !parts.iter().all(fits) {
            bail!("concat: tensors of shapes {:?}", parts.iter().map(|part| part.dims()).collect::<Vec<_>>());
        }
        let Some(arrays) = parts.iter().map(|part| part.fused().cloned()).collect::<Option<Vec<_>>>() else {
            return self.device_concat(parts);
        };
        let images: Vec<usize> = arrays.iter().map(|array| array.values.len() / batch.max(1)).collect();
        let image: usize = images.iter().sum();
        let mut out = Buffer::new(batch * image);
        out.par_chunks_exact_mut(image.max(1)).enumerate().for_each(|(i, mut out)| {
            for (array, image) in arrays.iter().zip(&images) {
                let (to, later) = out.split_at_mut(*image);
                to.copy_from_slice(&array.values[i * image..(i + 1) * image]);
                out = later;
            }
        });
        let mut dims = parts[0].dims().to_vec();
        dims[1] = parts.iter().map(|part| part.dims()[1]).sum();
        let nodes: Vec<_> = arrays.iter().map(|array| array.node).collect();
        Ok(self.push(Arc::new(out), &dims, &nodes.clone(), &[], || {
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                let mut from = 0;
                for (node, own) in nodes.into_iter().zip(images) {
                    if node.is_some() {
                        let mut to = Buffer::new(batch * own);
                        let images = to.par_chunks_exact_mut(own.max(1)).zip(grad.par_chunks_exact(image.max(1)));
                        images.for_each(|(to, grad)| to.copy_from_slice(&grad[from..from + own]));
                        gradients.add(node, to);
                    }
                    from += own;
                }
                Ok(())
            })
        }))
    }
}
