//! The time bias: one value for each channel of each image, added to its whole plane.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::composed;
use crate::cpu;
use crate::reduce::sum_of;

/// `x + values`, the values spread over height and width.
///
/// # Shapes
/// `x` [batch, channel, height, width], `values` [batch, channel].
///
/// # Errors
/// When the batch or the channels differ.
pub fn add_per_channel(x: &Tensor, values: &Tensor) -> Result<Tensor> {
    let (batch, channels, _, _) = x.dims4()?;
    if values.dims() != [batch, channels] {
        bail!("add_per_channel: expected values of shape [{batch}, {channels}], found {:?}", values.dims());
    }
    if !cpu::takes(&[x, values]) {
        return composed::add_per_channel(x, values);
    }
    x.contiguous()?.apply_op2(&values.contiguous()?, AddPerChannel)
}

#[derive(Debug)]
struct AddPerChannel;

impl CustomOp2 for AddPerChannel {
    fn name(&self) -> &'static str {
        "add_per_channel"
    }

    fn cpu_fwd(&self, x: &CpuStorage, lx: &Layout, v: &CpuStorage, lv: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, values) = (cpu::slice(x, lx)?, cpu::slice(v, lv)?);
        let mut out = vec![0.0; x.len()];
        let plane = plane(x.len(), values.len());
        let planes = out.par_chunks_exact_mut(plane).zip(x.par_chunks_exact(plane)).zip(values);
        planes.for_each(|((out, x), value)| out.iter_mut().zip(x).for_each(|(out, x)| *out = x + value));
        cpu::result(out, lx.shape())
    }

    fn bwd(&self, _: &Tensor, v: &Tensor, _: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sums: Vec<f32> = cpu::with_slice(grad, |grads| {
            let plane = plane(grads.len(), v.elem_count());
            Ok(grads.par_chunks_exact(plane).map(|plane| sum_of(plane, |v| v) as f32).collect())
        })?;
        Ok((Some(grad.clone()), Some(Tensor::from_vec(sums, v.shape(), v.device())?)))
    }
}

fn plane(elements: usize, planes: usize) -> usize {
    (elements / planes.max(1)).max(1)
}
