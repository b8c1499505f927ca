//! The operations of the device backend, one per file.

mod activation;
mod add;
mod affine;
mod attention;
mod concat;
mod conv2d;
mod dropout;
mod embedding;
mod group_norm;
mod linear;
mod modulate;
mod resample;

use std::any::Any;

use candle_core::{Result, Tensor};

use crate::backend::Backend;
use crate::backend::activation::Activation;
use crate::backend::attention_shape::AttentionShape;
use crate::backend::conv2d::{Conv2dShape, FusedConv2d};
use crate::backend::dropout_source::DropoutSource;
use crate::backend::norm::Norm;
use crate::backend::resample::Resample;
use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::gradient::DeviceBackwardPass;
use crate::device::layout::to_channels_first;
use crate::tape::pass::{BackwardPass, FinishedPass};
use crate::tape::recompute::Recompute;
use crate::tape::value::Value;

impl Backend for DeviceBackend {
    fn leaf(&self, tensor: &Tensor, tracked: bool) -> Result<Value> {
        self.new_leaf(tensor, tracked)
    }

    fn new_node(&self) -> usize {
        self.record.borrow_mut().new_node()
    }

    fn for_part(&self, recording: bool) -> Box<dyn Backend> {
        Box::new(self.part(recording))
    }

    fn parameters(&self) -> Vec<Tensor> {
        self.record.borrow().parameters().to_vec()
    }

    fn recompute(
        &self,
        output: Value,
        inputs: &[Option<usize>],
        parameters: &[&Tensor],
        again: Recompute,
    ) -> Result<Value> {
        let tensor = DeviceArray::of(&output)?.tensor;
        Ok(self.push(tensor, inputs, parameters, || {
            Box::new(move |gradient, gradients| again()?.backward(gradient, gradients))
        }))
    }

    fn into_record(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.record.into_inner())
    }

    fn finish(self: Box<Self>, output: Value) -> Result<FinishedPass> {
        let DeviceArray { tensor, node, .. } = DeviceArray::of(&output)?;
        let (record, dtype, tf32) = (self.record.into_inner(), self.dtype, self.tf32);
        let backward =
            node.map(|output| Box::new(DeviceBackwardPass { record, output, dtype, tf32 }) as Box<dyn BackwardPass>);
        Ok(FinishedPass { output: to_channels_first(&tensor)?, backward })
    }

    fn activation(&self, x: &Value, activation: Activation) -> Result<Value> {
        activation::activation(self, x, activation)
    }

    fn add(&self, x: &Value, y: &Value) -> Result<Value> {
        add::add(self, x, y)
    }

    fn affine(&self, x: &Value, scale: f64, shift: f64) -> Result<Value> {
        affine::affine(self, x, scale, shift)
    }

    fn attention(&self, qkv: &Value, shape: &AttentionShape) -> Result<Value> {
        attention::attention(self, qkv, *shape)
    }

    fn concat(&self, parts: &[&Value]) -> Result<Value> {
        concat::concat(self, parts)
    }

    fn conv2d(&self, op: &FusedConv2d<'_>, shape: &Conv2dShape) -> Result<Value> {
        conv2d::conv2d(self, op, shape)
    }

    fn dropout(&self, x: &Value, rate: f64, source: &mut dyn DropoutSource) -> Result<Value> {
        dropout::dropout(self, x, rate, source.seed())
    }

    fn embedding(&self, table: &Tensor, rows: &[usize]) -> Result<Value> {
        embedding::embedding(self, table, rows)
    }

    fn group_norm(&self, x: &Value, norm: &Norm<'_>, silu: bool) -> Result<Value> {
        group_norm::group_norm(self, x, norm, silu)
    }

    fn linear(&self, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value> {
        linear::linear(self, x, weight, bias)
    }

    fn mask(&self, x: &Value, mask: Vec<f32>) -> Result<Value> {
        dropout::mask(self, x, mask)
    }

    fn modulate(&self, x: &Value, scale_and_shift: &Value) -> Result<Value> {
        modulate::modulate(self, x, scale_and_shift)
    }

    fn resample(&self, x: &Value, resample: Resample) -> Result<Value> {
        resample::resample(self, x, resample)
    }
}
