//! Scaled dot-product attention.

use candle_core::{Result, Tensor};

use crate::backend::attention_shape::AttentionShape;
use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::primitives;
use crate::tape::value::Value;

pub(super) fn attention(backend: &DeviceBackend, qkv: &Value, shape: AttentionShape) -> Result<Value> {
    let qkv = DeviceArray::of(qkv)?;
    let attention = Attention { heads: shape.heads, head_channels: shape.head_channels };
    let parts = attention.split_heads(&qkv.tensor)?;
    let [q, k, v] = &parts;
    let out = attention.merge_heads(&primitives::matmul(&attention.weights(q, k)?, v)?)?;
    Ok(backend.push_unary(&qkv, out, move |grad| attention.backward(&parts, &grad)))
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
    fn split_heads(self, qkv: &Tensor) -> Result<[Tensor; 3]> {
        let (batch, positions, _) = qkv.dims3()?;
        let parts = qkv.reshape((batch, positions, 3, self.heads, self.head_channels))?.permute((2, 0, 3, 1, 4))?;
        let parts = parts.contiguous()?;
        Ok([parts.get(0)?, parts.get(1)?, parts.get(2)?])
    }

    /// [batch, head, position, d] as [batch, position, heads · d].
    fn merge_heads(self, x: &Tensor) -> Result<Tensor> {
        let (batch, heads, positions, d) = x.dims4()?;
        x.transpose(1, 2)?.contiguous()?.reshape((batch, positions, heads * d))
    }

    /// softmax(q kᵀ / √d), [batch, head, query, key].
    fn weights(self, q: &Tensor, k: &Tensor) -> Result<Tensor> {
        primitives::softmax(&primitives::matmul(q, &k.t()?)?, self.scale())
    }

    /// The gradient of qkv. The weights P are recomputed instead of saved: ∂v = Pᵀ ∂o, ∂P = ∂o vᵀ, ∂S = P ∘ (∂P −
    /// rowsum(∂P ∘ P)) / √d, ∂q = ∂S k, ∂k = ∂Sᵀ q.
    fn backward(self, [q, k, v]: &[Tensor; 3], grad: &Tensor) -> Result<Tensor> {
        let (batch, positions, _) = grad.dims3()?;
        let grad = grad.reshape((batch, positions, self.heads, self.head_channels))?.transpose(1, 2)?.contiguous()?;
        let weights = self.weights(q, k)?;
        let by_v = primitives::matmul(&weights.t()?, &grad)?;
        let by_weights = primitives::matmul(&grad, &v.t()?)?;
        let by_products = primitives::softmax_backward(&weights, &by_weights, self.scale())?;
        let by_q = primitives::matmul(&by_products, k)?;
        let by_k = primitives::matmul(&by_products.t()?, q)?;
        let parts = [by_q, by_k, by_v].map(|part| self.merge_heads(&part));
        let [q, k, v] = parts;
        Tensor::cat(&[q?, k?, v?], 2)
    }
}
