//! The operations of the CPU backend, one per file.

mod activation;
mod add;
mod affine;
mod attention;
mod concat;
mod conv2d;
mod conv2d_backward;
mod conv2d_inputs;
mod dropout;
mod embedding;
mod group_norm;
mod linear;
mod modulate;
mod resample;

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use crate::backend::Backend;
use crate::backend::activation::Activation;
use crate::backend::attention_shape::AttentionShape;
use crate::backend::conv2d::{Conv2dShape, FusedConv2d};
use crate::backend::dropout_source::DropoutSource;
use crate::backend::norm::Norm;
use crate::backend::resample::Resample;
use crate::cpu::backend::CpuBackend;
use crate::cpu::buffer::Buffer;
use crate::cpu::gradient::CpuBackwardPass;
use crate::cpu::tensor_slice::with_slice;
use crate::tape::pass::{BackwardPass, FinishedPass};
use crate::tape::recompute::Recompute;
use crate::tape::record::Record;
use crate::tape::value::Value;

impl Backend for CpuBackend {
    fn leaf(&self, tensor: &Tensor, tracked: bool) -> Result<Value> {
        let values = with_slice(tensor, |values| Ok(Buffer::copy_of(values)))?;
        let node = tracked.then(|| self.new_node());
        Ok(Value::new(Arc::new(values), tensor.dims().to_vec(), node))
    }

    fn new_node(&self) -> usize {
        self.record.borrow_mut().new_node()
    }

    fn for_part(&self, recording: bool) -> Box<dyn Backend> {
        let record = RefCell::new(Record::new(recording));
        Box::new(Self { record, weight_cache: self.weight_cache.clone() })
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
        let node = self
            .record
            .borrow_mut()
            .push(inputs, parameters, || Box::new(move |gradient, gradients| again()?.backward(gradient, gradients)));
        Ok(output.with_node(node))
    }

    fn into_record(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.record.into_inner())
    }

    fn finish(self: Box<Self>, output: Value) -> Result<FinishedPass> {
        let (dims, node) = (output.dims().to_vec(), output.node());
        let values = match Arc::try_unwrap(output.into_storage::<Buffer>()?) {
            Ok(buffer) => buffer.into_vec(),
            Err(shared) => shared.to_vec(),
        };
        let output = Tensor::from_vec(values, dims, &Device::Cpu)?;
        let record = self.record.into_inner();
        let backward = node.map(|output| Box::new(CpuBackwardPass { record, output }) as Box<dyn BackwardPass>);
        Ok(FinishedPass { output, backward })
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
        dropout::dropout(self, x, rate, source)
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
