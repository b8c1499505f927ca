//! The interface between the operations and the code that computes them.
//!
//! [`Backend`] has one method for each operation, and the modules here describe the operations that take more than a
//! few arguments. Shapes have been checked when a method is called. Neither the trait nor the descriptions depend on
//! a backend.

pub(crate) mod activation;
pub(crate) mod attention_shape;
pub(crate) mod conv2d;
pub(crate) mod dropout_source;
pub(crate) mod norm;
pub(crate) mod rearrange;
pub(crate) mod resample;
pub(crate) mod update;

use std::any::Any;
use std::fmt::Debug;

use candle_core::{Result, Tensor};

use crate::backend::activation::Activation;
use crate::backend::attention_shape::AttentionShape;
use crate::backend::conv2d::{Conv2dShape, FusedConv2d};
use crate::backend::dropout_source::DropoutSource;
use crate::backend::norm::Norm;
use crate::backend::resample::Resample;
use crate::tape::pass::FinishedPass;
use crate::tape::recompute::Recompute;
use crate::tape::value::Value;

/// Computes the operations of one forward pass and records them for its backward pass.
///
/// A backend owns the record of the pass. Every operation returns a new value and, if an input or a parameter needs a
/// gradient, records how its gradients are computed.
pub(crate) trait Backend: Debug + Send {
    /// The value of an input or of a constant; `tracked` if its gradient is needed.
    fn leaf(&self, tensor: &Tensor, tracked: bool) -> Result<Value>;

    /// The index of a new gradient in the record.
    fn new_node(&self) -> usize;

    /// An empty backend of the same kind for a part of the pass; with `recording` false it only notes the parameters it
    /// uses.
    fn for_part(&self, recording: bool) -> Box<dyn Backend>;

    /// The parameters that were used and that need a gradient.
    fn parameters(&self) -> Vec<Tensor>;

    /// Records `output`, the result of a part of the pass that is to be run again for its gradient.
    fn recompute(
        &self,
        output: Value,
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        again: Recompute,
    ) -> Result<Value>;

    /// The [`crate::tape::record::Record`], once the operations are done.
    fn into_record(self: Box<Self>) -> Box<dyn Any>;

    /// Ends the pass with its result.
    fn finish(self: Box<Self>, output: Value) -> Result<FinishedPass>;

    /// The function of every element.
    fn activation(&self, x: &Value, activation: Activation) -> Result<Value>;

    /// x + y of values of one shape.
    fn add(&self, x: &Value, y: &Value) -> Result<Value>;

    /// x · scale + shift
    fn affine(&self, x: &Value, scale: f64, shift: f64) -> Result<Value>;

    /// Scaled dot-product attention of `qkv`, [batch, 3 · heads · head_channels, position].
    fn attention(&self, qkv: &Value, shape: &AttentionShape) -> Result<Value>;

    /// The channels of all parts, in their order. There is at least one part.
    fn concat(&self, parts: &[&Value]) -> Result<Value>;

    /// A convolution and the operations around it.
    fn conv2d(&self, op: &FusedConv2d<'_>, shape: &Conv2dShape) -> Result<Value>;

    /// Every element is zeroed with probability `rate`, or else multiplied by 1 / (1 − rate).
    fn dropout(&self, x: &Value, rate: f64, source: &mut dyn DropoutSource) -> Result<Value>;

    /// The given rows of `table` [row, feature].
    fn embedding(&self, table: &Tensor, rows: &[usize]) -> Result<Value>;

    /// Group normalization, followed by SiLU if `silu`.
    fn group_norm(&self, x: &Value, norm: &Norm<'_>, silu: bool) -> Result<Value>;

    /// x Wᵀ + b
    fn linear(&self, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value>;

    /// Every element times the factor in the same place, in the order [batch, channel, …].
    fn mask(&self, x: &Value, mask: Vec<f32>) -> Result<Value>;

    /// x (1 + scale) + shift, with `scale_and_shift` [batch, 2 channel].
    fn modulate(&self, x: &Value, scale_and_shift: &Value) -> Result<Value>;

    /// Height and width halved or doubled.
    fn resample(&self, x: &Value, resample: Resample) -> Result<Value>;
}
