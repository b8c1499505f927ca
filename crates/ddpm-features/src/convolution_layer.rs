//! A convolution with its batch normalization and activation.

use candle_core::{Device, Tensor};

use crate::batch_norm::batch_norm_factors;
use crate::blocked::{self, BlockedConvolution, BlockedDepthwise};
use crate::convolution_shape::{Activation, ConvolutionShape};
use crate::error::Result;
use crate::execution::Execution;
use crate::feature_map::{FeatureMap, not_convolved};
use crate::weights::Weights;

/// A convolution whose weights contain the batch normalization that follows it.
#[derive(Debug)]
pub(crate) struct ConvolutionLayer {
    shape: ConvolutionShape,
    kernel: Kernel,
}

/// The weights in the layout of the code that uses them.
#[derive(Debug)]
enum Kernel {
    Full(BlockedConvolution),
    Depthwise(BlockedDepthwise),
    /// Weights [channel_out, channel_in, row, column] and bias [1, channel_out, 1, 1].
    Planes(Tensor, Tensor),
}

impl ConvolutionLayer {
    /// The convolution `conv`, without a bias of its own, followed by the batch normalization `norm`.
    pub(crate) fn new(
        weights: &Weights<'_>,
        (conv, norm): (&str, &str),
        shape: ConvolutionShape,
        eps: f64,
        execution: &Execution,
    ) -> Result<Self> {
        let mut values = weights.values(&format!("{conv}.weight"), &shape.weight_shape())?;
        let factors = batch_norm_factors(weights, norm, shape.channels_out, eps)?;
        let row_length = values.len() / shape.channels_out;
        for (row, (scale, _)) in values.chunks_exact_mut(row_length).zip(&factors) {
            row.iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
        }
        let bias: Vec<f32> = factors.iter().map(|(_, bias)| *bias as f32).collect();
        let kernel = match execution {
            Execution::Blocked if shape.depthwise => Kernel::Depthwise(BlockedDepthwise::new(shape, &values, &bias)),
            Execution::Blocked => Kernel::Full(BlockedConvolution::new(shape, &values, &bias)),
            Execution::Planes(device) => planes(&shape, values, bias, device)?,
        };
        Ok(Self { shape, kernel })
    }

    /// The convolution of `x`, followed by the activation.
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        match (x, &self.kernel) {
            (FeatureMap::Planar(image), Kernel::Full(kernel)) => Ok(FeatureMap::Blocked(kernel.forward_planar(image))),
            (FeatureMap::Blocked(image), Kernel::Full(kernel)) => Ok(FeatureMap::Blocked(kernel.forward(image, None))),
            (FeatureMap::Blocked(image), Kernel::Depthwise(kernel)) => Ok(FeatureMap::Blocked(kernel.forward(image))),
            (FeatureMap::Planes(x), Kernel::Planes(weight, bias)) => {
                Ok(FeatureMap::Planes(self.forward_planes(x, weight, bias)?))
            }
            _ => Ok(Err(not_convolved())?),
        }
    }

    fn forward_planes(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = x.dims4()?;
        let padding = self.shape.padding(height, width);
        let mut x = x.clone();
        if !padding.none() {
            x = x.pad_with_zeros(2, padding.top, padding.bottom)?.pad_with_zeros(3, padding.left, padding.right)?;
        }
        let groups = if self.shape.depthwise { channels } else { 1 };
        let out = x.conv2d(weight, 0, self.shape.stride, 1, groups)?.broadcast_add(bias)?;
        Ok(match self.shape.activation {
            Activation::None => out,
            Activation::Relu => out.relu()?,
            Activation::Relu6 => out.clamp(0.0, 6.0)?,
        })
    }
}

fn planes(shape: &ConvolutionShape, weight: Vec<f32>, bias: Vec<f32>, device: &Device) -> Result<Kernel> {
    let weight = Tensor::from_vec(weight, &shape.weight_shape(), device)?;
    Ok(Kernel::Planes(weight, Tensor::from_vec(bias, (1, shape.channels_out, 1, 1), device)?))
}

/// An inverted residual block: expand (left out by the first block of a network), depthwise convolution, project, and
/// the sum with the input if `residual`.
#[derive(Debug)]
pub(crate) struct InvertedResidual {
    pub(crate) expand: Option<ConvolutionLayer>,
    pub(crate) depthwise: ConvolutionLayer,
    pub(crate) project: ConvolutionLayer,
    pub(crate) residual: bool,
}

impl InvertedResidual {
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        if let (FeatureMap::Blocked(image), Some(expand)) = (x, &self.expand)
            && let (Kernel::Full(expand), Kernel::Depthwise(depthwise), Kernel::Full(project)) =
                (&expand.kernel, &self.depthwise.kernel, &self.project.kernel)
        {
            let out = blocked::inverted_residual(image, expand, depthwise, project, self.residual);
            return Ok(FeatureMap::Blocked(out));
        }
        let expanded = self.expand.as_ref().map(|expand| expand.forward(x)).transpose()?;
        let out = self.project.forward(&self.depthwise.forward(expanded.as_ref().unwrap_or(x))?)?;
        match (&out, x) {
            (FeatureMap::Planes(out), FeatureMap::Planes(x)) if self.residual => Ok(FeatureMap::Planes((out + x)?)),
            _ => Ok(out),
        }
    }
}
