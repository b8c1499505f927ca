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
            _ => Err(not_convolved()),
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
        let hidden = self.depthwise.forward(expanded.as_ref().unwrap_or(x))?;
        match (&hidden, x, &self.project.kernel) {
            (FeatureMap::Blocked(hidden), FeatureMap::Blocked(image), Kernel::Full(project)) => {
                Ok(FeatureMap::Blocked(project.forward(hidden, self.residual.then_some(image))))
            }
            (FeatureMap::Planes(hidden), FeatureMap::Planes(x), Kernel::Planes(weight, bias)) => {
                let out = self.project.forward_planes(hidden, weight, bias)?;
                Ok(FeatureMap::Planes(if self.residual { (out + x)? } else { out }))
            }
            _ => Err(not_convolved()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ddpm_checkpoint::Tensors;
    use ddpm_testkit::{assert_close, formula_tensor};

    use super::*;
    use crate::blocked::PlanarImage;
    use crate::convolution_shape::PaddingRule;

    /// Only the order of the sums differs between the two ways to compute.
    const TOLERANCE: f64 = 1e-5;

    fn layer(name: &str, shape: ConvolutionShape, execution: &Execution) -> ConvolutionLayer {
        let mut tensors = Tensors::new();
        let mut add = |name: String, shape: &[usize]| drop(tensors.insert(name.clone(), formula_tensor(&name, shape)));
        add(format!("{name}.weight"), &shape.weight_shape());
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(format!("{name}.bn.{part}"), &[shape.channels_out]);
        }
        let weights = Weights::new(&tensors);
        let layer = ConvolutionLayer::new(&weights, (name, &format!("{name}.bn")), shape, 1e-3, execution);
        assert_eq!(weights.differences(|_| false), [""; 0]);
        layer.expect("weights that fit")
    }

    fn shape(channels_in: usize, channels_out: usize, kernel: (usize, usize), stride: usize) -> ConvolutionShape {
        let depthwise = false;
        let (padding, activation) = (PaddingRule::Same, Activation::Relu6);
        ConvolutionShape { channels_in, channels_out, kernel, stride, padding, depthwise, activation }
    }

    /// The pixels of a map as [channel, height, width].
    fn tensor(map: &FeatureMap) -> Tensor {
        match map {
            FeatureMap::Planes(x) => x.squeeze(0).expect("one image"),
            FeatureMap::Blocked(image) => {
                let blocks = image.pixels.as_flattened().to_vec();
                let blocks = Tensor::from_vec(blocks, (image.blocks(), image.plane(), 16), &Device::Cpu);
                let planes = blocks.and_then(|blocks| blocks.transpose(1, 2)?.contiguous());
                let shape = (16 * image.blocks(), image.height, image.width);
                planes.and_then(|x| x.reshape(shape)?.narrow(0, 0, image.channels)).expect("whole blocks")
            }
            FeatureMap::Planar(_) => panic!("not convolved"),
        }
    }

    /// The same image of random colors in both ways, after a first convolution to `channels`.
    fn maps(channels: usize, height: usize, width: usize) -> [FeatureMap; 2] {
        let image = formula_tensor("image", &[1, 3, height, width]);
        let values = image.flatten_all().and_then(|image| image.to_vec1()).expect("f32 values");
        let planar = FeatureMap::Planar(PlanarImage { height, width, values });
        let shape = shape(3, channels, (3, 3), 1);
        let map = |execution, x| layer("first", shape, &execution).forward(x).expect("a convolution");
        [map(Execution::Blocked, &planar), map(Execution::Planes(Device::Cpu), &FeatureMap::Planes(image))]
    }

    fn compare(what: &str, [blocked, planes]: [FeatureMap; 2]) {
        assert_close(what, &tensor(&blocked), &tensor(&planes), TOLERANCE);
    }

    fn both(shape: ConvolutionShape, [blocked, planes]: &[FeatureMap; 2]) -> [FeatureMap; 2] {
        let run = |execution, x| layer("layer", shape, &execution).forward(x).expect("a convolution");
        [run(Execution::Blocked, blocked), run(Execution::Planes(Device::Cpu), planes)]
    }

    #[test]
    fn convolutions_agree_with_candle() {
        for (channels_in, channels_out, kernel, stride) in [
            (32, 64, (3, 3), 1),
            (24, 40, (1, 1), 1),
            (40, 17, (3, 3), 2),
            (16, 16, (1, 7), 1),
            (5, 33, (7, 1), 1),
            (3, 8, (5, 5), 1),
            (19, 48, (5, 5), 3),
        ] {
            for (height, width) in [(13, 17), (7, 30), (8, 8), (1, 1)] {
                let maps = maps(channels_in, height, width);
                compare("first", maps.clone());
                if channels_in == 3 {
                    continue;
                }
                let same = shape(channels_in, channels_out, kernel, stride);
                compare(&format!("{same:?} of {height} x {width}"), both(same, &maps));
                let valid =
                    ConvolutionShape { padding: PaddingRule::Fixed(0, 0), activation: Activation::None, ..same };
                if kernel.0 <= height && kernel.1 <= width {
                    compare(&format!("{valid:?} of {height} x {width}"), both(valid, &maps));
                }
            }
        }
    }

    #[test]
    fn depthwise_convolutions_agree_with_candle() {
        for (channels, kernel, stride) in [(16, 3, 1), (24, 5, 2), (40, 3, 2), (7, 5, 1)] {
            for (height, width) in [(13, 17), (7, 30), (4, 4), (1, 1)] {
                let maps = maps(channels, height, width);
                let shape = shape(channels, channels, (kernel, kernel), stride);
                let depthwise = ConvolutionShape { depthwise: true, ..shape };
                compare(&format!("{depthwise:?} of {height} x {width}"), both(depthwise, &maps));
            }
        }
    }

    #[test]
    fn inverted_residuals_agree_with_candle() {
        for (expansion, channels_out, kernel, stride) in [(6, 24, 3, 1), (6, 40, 5, 2), (1, 24, 3, 1), (1, 16, 5, 2)] {
            let channels = 24;
            let hidden = channels * expansion;
            let block = |execution: &Execution| {
                let spatial = shape(hidden, hidden, (kernel, kernel), stride);
                let depthwise = ConvolutionShape { depthwise: true, ..spatial };
                let project = shape(hidden, channels_out, (1, 1), 1);
                let project = ConvolutionShape { activation: Activation::None, ..project };
                InvertedResidual {
                    expand: (expansion > 1).then(|| layer("expand", shape(channels, hidden, (1, 1), 1), execution)),
                    depthwise: layer("depthwise", depthwise, execution),
                    project: layer("project", project, execution),
                    residual: stride == 1 && channels == channels_out,
                }
            };
            let [blocked, planes] = maps(channels, 11, 9);
            let run = |execution, x| block(&execution).forward(x).expect("a block");
            let outputs = [run(Execution::Blocked, &blocked), run(Execution::Planes(Device::Cpu), &planes)];
            compare(&format!("expansion {expansion}, stride {stride}"), outputs);
        }
    }

    #[test]
    fn pooling_agrees_with_candle() {
        for (height, width) in [(3, 3), (8, 17), (35, 4)] {
            let maps = maps(20, height, width);
            for pool in [FeatureMap::max_pool, FeatureMap::max_pool_stride_2, FeatureMap::average_pool] {
                compare("pooling", maps.each_ref().map(|map| pool(map).expect("a pooling")));
            }
            let means = maps.each_ref().map(|map| match map.spatial_mean().expect("a mean") {
                crate::feature_map::Vectors::One(values) => Tensor::new(values, &Device::Cpu).expect("a vector"),
                crate::feature_map::Vectors::Batch(tensor) => tensor.squeeze(0).expect("one image"),
            });
            assert_close("mean", &means[0], &means[1], TOLERANCE);
            let joined = maps.each_ref().map(|map| {
                let wide = FeatureMap::concat(vec![map.clone()]).expect("one map");
                FeatureMap::concat(vec![wide]).expect("one map")
            });
            compare("concat", joined);
        }
    }
}
