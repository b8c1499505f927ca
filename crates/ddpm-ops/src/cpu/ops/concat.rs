//! Concatenation of channels.

use candle_core::Result;
use rayon::prelude::*;

use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn concat(backend: &CpuBackend, parts: &[&Value]) -> Result<Value> {
    let mut dims = parts[0].dims().to_vec();
    dims[1] = parts.iter().map(|part| part.dims()[1]).sum();
    let batch = dims[0];
    let arrays = parts.iter().map(|part| Array::of(part)).collect::<Result<Vec<_>>>()?;
    // Elements of one image, of each part and of the result.
    let sizes: Vec<usize> = arrays.iter().map(|array| array.values.len() / batch.max(1)).collect();
    let size: usize = sizes.iter().sum();
    let mut out = Buffer::new(batch * size);
    out.par_chunks_exact_mut(size.max(1)).enumerate().for_each(|(i, mut out)| {
        for (array, size) in arrays.iter().zip(&sizes) {
            let (to, later) = out.split_at_mut(*size);
            to.copy_from_slice(&array.values[i * size..(i + 1) * size]);
            out = later;
        }
    });
    let nodes: Vec<_> = arrays.iter().map(|array| array.node).collect();
    Ok(backend.push(out, &dims, &nodes.clone(), &[], || {
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            let mut from = 0;
            for (node, own) in nodes.into_iter().zip(sizes) {
                if node.is_some() {
                    let mut to = Buffer::new(batch * own);
                    let images = to.par_chunks_exact_mut(own.max(1)).zip(grad.par_chunks_exact(size.max(1)));
                    images.for_each(|(to, grad)| to.copy_from_slice(&grad[from..from + own]));
                    gradients.add(node, to);
                }
                from += own;
            }
            Ok(())
        })
    }))
}
