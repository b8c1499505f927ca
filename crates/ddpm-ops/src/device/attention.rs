//! Scaled dot-product attention, with the channels last.

use candle_core::{Result, Tensor};

use super::primitives;
use crate::tape::{Tape, Value};

impl Tape {
    /// `qkv` [batch, 3 · heads · d, position].
    pub(crate) fn device_attention(&self, qkv: &Value, heads: usize) -> Result<Value> {
        let qkv = qkv.device()?.clone();
        let op = Attention { heads, head_channels: qkv.dims[1] / (3 * heads) };
        let parts = op.apart(&qkv.tensor)?;
        let [q, k, v] = &parts;
        let out = op.together(&primitives::matmul(&op.weights(q, k)?, v)?)?;
        Ok(self.push_unary(&qkv, out, move |grad| op.by_input(&parts, &grad)))
    }
}

#[derive(Debug, Clone, Copy)]
struct Attention {
    heads: usize,
    head_channels: usize,
}

impl Attention {
    fn scale(self) -> f64 {
        (self.head_channels as f64).sqrt().recip()
    }

    /// [batch, position, 3 · heads · d] as q, k and v, each [batch, head, position, d].
    fn apart(self, qkv: &Tensor) -> Result<[Tensor; 3]> {
        let (batch, positions, _) = qkv.dims3()?;
        let parts = qkv.reshape((batch, positions, 3, self.heads, self.head_channels))?.permute((2, 0, 3, 1, 4))?;
        let parts = parts.contiguous()?;
        Ok([parts.get(0)?, parts.get(1)?, parts.get(2)?])
    }

    /// [batch, head, position, d] as [batch, position, heads · d].
    fn together(self, x: &Tensor) -> Result<Tensor> {
        let (batch, heads, positions, d) = x.dims4()?;
        x.transpose(1, 2)?.contiguous()?.reshape((batch, positions, heads * d))
    }

    /// softmax(q kᵀ / √d), [batch, head, query, key].
    fn weights(self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        primitives::softmax(&primitives::matmul(q, &k.t()?)?, self.scale())
    }

    /// The gradient by qkv, with the weights P computed again rather than kept: ∂v = Pᵀ ∂o, ∂P = ∂o vᵀ, ∂S = P ∘ (∂P −
    /// rowsum(∂P ∘ P)) / √d, ∂q = ∂S k, ∂k = ∂Sᵀ q.
    fn by_input(self, [q, k, v]: &[Tensor; 3], grad: &Tensor) -> Result<Tensor> {
        let (batch, positions, _) = grad.dims3()?;
        let grad = grad.reshape((batch, positions, self.heads, self.head_channels))?.transpose(1, 2)?.contiguous()?;
        let weights = self.weights(q, k)?;
        let by_v = primitives::matmul(&weights.t()?, &grad)?;
        let by_weights = primitives::matmul(&grad, &v.t()?)?;
        let by_products = primitives::softmax_by_input(&weights, &by_weights, self.scale())?;
        let by_q = primitives::matmul(&by_products, k)?;
        let by_k = primitives::matmul(&by_products.t()?, q)?;
        let parts = [by_q, by_k, by_v].map(|part| self.together(&part));
        let [q, k, v] = parts;
        Tensor::cat(&[q?, k?, v?], 2)
    }
}
