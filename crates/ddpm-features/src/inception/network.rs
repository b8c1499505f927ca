//! The network.

use candle_core::{Device, Tensor};
use ddpm_checkpoint::Tensors;

use crate::batch_runner::run_batch;
use crate::convolution_layer::ConvolutionLayer;
use crate::error::{FeaturesError, Result};
use crate::execution::Execution;
use crate::feature_map::{FeatureMap, Vectors};
use crate::feature_network::{FeatureNetwork, Features};
use crate::inception::block::{Block, Pooling};
use crate::inception::layer::InceptionLayer;
use crate::inception::mixed_blocks::LayerBuilder;
use crate::inception::weight_names::{is_ignored, with_plain_names};
use crate::linear_layer::LinearLayer;
use crate::preprocessing::Preprocessing;
use crate::weights::Weights;

/// The classes of the graph: those of ImageNet and eight that are not used.
const CLASSES: usize = 1008;

/// Inception-v3 (Szegedy et al. 2016) as the graph `inception-2015-12-05` of TensorFlow computes it, with which the FID
/// (Heusel et al. 2017) is defined. It differs from torchvision's network in three points: average pooling does not
/// count pixels outside of the image, the last block has max pooling, and there are 1008 classes.
///
/// Weights are those of pytorch-fid (`pt_inception-2015-12-05-6726825d.pth`), under their names in the file or in the
/// wrapper `InceptionV3` of pytorch-fid. Batch normalization (ε = 0.001) becomes a part of the convolutions.
#[derive(Debug)]
pub struct InceptionV3 {
    first: [ConvolutionLayer; 3],
    second: [ConvolutionLayer; 2],
    before_auxiliary: Vec<Block>,
    last: Vec<Block>,
    classifier: Option<LinearLayer>,
    layer: InceptionLayer,
    preprocessing: Preprocessing,
    execution: Execution,
}

/// The features of all layers, and the logits.
#[derive(Debug, Clone)]
pub struct InceptionFeatures {
    /// [image, feature] of each layer, in the order of [`InceptionLayer::ALL`].
    pub layers: [Tensor; 4],
    /// [image, 1008], if the weights include the classifier.
    pub logits: Option<Tensor>,
    /// The same without the bias of the classifier.
    pub logits_without_bias: Option<Tensor>,
}

impl InceptionV3 {
    /// The name of the network.
    pub const NAME: &'static str = "inception-v3";

    /// Builds the network, whose features are those of `layer`. Weights without the classifier `fc` give no logits.
    ///
    /// # Errors
    /// [`FeaturesError::OtherNetwork`] listing tensors that are missing, unknown or of another shape;
    /// [`FeaturesError::Config`] for a size that is not between 75 and 2048 pixels.
    pub fn from_tensors(
        tensors: &Tensors,
        layer: InceptionLayer,
        preprocessing: Preprocessing,
        device: &Device,
    ) -> Result<Self> {
        Self::build(tensors, layer, preprocessing, Execution::on(device))
    }

    pub(crate) fn build(
        tensors: &Tensors,
        layer: InceptionLayer,
        preprocessing: Preprocessing,
        execution: Execution,
    ) -> Result<Self> {
        preprocessing.check(75..=2048)?;
        let tensors = with_plain_names(tensors);
        let weights = Weights::new(&tensors);
        let builder = LayerBuilder { weights: &weights, execution: &execution };
        let first = [
            builder.layer("Conv2d_1a_3x3", 3, 32, (3, 3), 2, false)?,
            builder.layer("Conv2d_2a_3x3", 32, 32, (3, 3), 1, false)?,
            builder.layer("Conv2d_2b_3x3", 32, 64, (3, 3), 1, true)?,
        ];
        let second = [
            builder.layer("Conv2d_3b_1x1", 64, 80, (1, 1), 1, true)?,
            builder.layer("Conv2d_4a_3x3", 80, 192, (3, 3), 1, false)?,
        ];
        let before_auxiliary = vec![
            builder.block_35("Mixed_5b", 192, 32)?,
            builder.block_35("Mixed_5c", 256, 64)?,
            builder.block_35("Mixed_5d", 288, 64)?,
            builder.reduction_to_17("Mixed_6a", 288)?,
            builder.block_17("Mixed_6b", 128)?,
            builder.block_17("Mixed_6c", 160)?,
            builder.block_17("Mixed_6d", 160)?,
            builder.block_17("Mixed_6e", 192)?,
        ];
        let last = vec![
            builder.reduction_to_8("Mixed_7a")?,
            builder.block_8("Mixed_7b", 1280, Pooling::Average)?,
            builder.block_8("Mixed_7c", 2048, Pooling::Max)?,
        ];
        let classifier = weights.contains("fc.weight").then(|| {
            LinearLayer::new(&weights, "fc", (InceptionLayer::LastPooling.width(), CLASSES), execution.device())
        });
        let classifier = classifier.transpose()?;
        FeaturesError::check_differences(Self::NAME, weights.differences(is_ignored))?;
        Ok(Self { first, second, before_auxiliary, last, classifier, layer, preprocessing, execution })
    }

    /// The features of all layers, and the logits.
    ///
    /// # Errors
    /// Those of [`FeatureNetwork::features`].
    pub fn all_layers(&self, images: &Tensor) -> Result<InceptionFeatures> {
        let layers = self.run(images, &InceptionLayer::ALL)?;
        let layers: [Tensor; 4] = layers.try_into().expect("one tensor for each layer");
        let logits = self.classifier.as_ref().map(|classifier| classifier.forward(&layers[3])).transpose()?;
        let without = self.classifier.as_ref().map(|classifier| classifier.without_bias(&layers[3])).transpose()?;
        Ok(InceptionFeatures { layers, logits, logits_without_bias: without })
    }

    /// The features of several layers, in the order of the network. Nothing after the last of them is computed.
    fn run(&self, images: &Tensor, layers: &[InceptionLayer]) -> Result<Vec<Tensor>> {
        let widths: Vec<usize> = layers.iter().map(|layer| layer.width()).collect();
        let network = |x: FeatureMap| self.forward(x, layers);
        run_batch(images, &self.preprocessing, &self.execution, &widths, network)
    }

    fn forward(&self, mut x: FeatureMap, layers: &[InceptionLayer]) -> Result<Vec<Vectors>> {
        let mut out = Vec::new();
        for layer in InceptionLayer::ALL {
            x = match layer {
                InceptionLayer::FirstPooling => convolve(&self.first, x)?.max_pool_stride_2()?,
                InceptionLayer::SecondPooling => convolve(&self.second, x)?.max_pool_stride_2()?,
                InceptionLayer::Auxiliary => self.before_auxiliary.iter().try_fold(x, |x, block| block.forward(&x))?,
                InceptionLayer::LastPooling => self.last.iter().try_fold(x, |x, block| block.forward(&x))?,
            };
            if layers.contains(&layer) {
                out.push(x.spatial_mean()?);
            }
            if out.len() == layers.len() {
                break;
            }
        }
        Ok(out)
    }
}

fn convolve(layers: &[ConvolutionLayer], x: FeatureMap) -> Result<FeatureMap> {
    layers.iter().try_fold(x, |x, layer| layer.forward(&x))
}

impl FeatureNetwork for InceptionV3 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn feature_width(&self) -> usize {
        self.layer.width()
    }

    fn class_count(&self) -> Option<usize> {
        (self.classifier.is_some() && self.layer == InceptionLayer::LastPooling).then_some(CLASSES)
    }

    fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// The logits are those without the bias of the classifier, as the code of the Inception Score (Salimans et al.
    /// 2016) computes them; [`InceptionV3::all_layers`] returns both.
    fn features(&self, images: &Tensor) -> Result<Features> {
        let features = self.run(images, &[self.layer])?.remove(0);
        let logits = match &self.classifier {
            Some(classifier) if self.layer == InceptionLayer::LastPooling => Some(classifier.without_bias(&features)?),
            _ => None,
        };
        Ok(Features { features, logits })
    }
}

#[cfg(test)]
mod tests {
    use ddpm_testkit::{assert_close, formula_images, formula_tensor};

    use super::*;
    use crate::weights::formula_tensors;

    #[test]
    fn both_ways_to_compute_agree() {
        let small = Preprocessing { size: 91, ..Preprocessing::clean_fid() };
        let build = |tensors: &Tensors, execution| {
            InceptionV3::build(tensors, InceptionLayer::LastPooling, small.clone(), execution)
        };
        let mut tensors = formula_tensors(&build(&Tensors::new(), Execution::Blocked).expect_err("no weights"));
        // Weights without a classifier are complete, so it is not among the missing tensors.
        for (name, shape) in [("fc.weight", &[1008, 2048][..]), ("fc.bias", &[1008])] {
            tensors.insert(name.to_owned(), formula_tensor(name, shape));
        }
        let images = formula_images(2, 40, 33);
        let run = |execution| build(&tensors, execution).and_then(|n| n.all_layers(&images)).expect("features");
        let (blocked, planes) = (run(Execution::Blocked), run(Execution::Planes(Device::Cpu)));
        for (layer, (blocked, planes)) in InceptionLayer::ALL.iter().zip(blocked.layers.iter().zip(&planes.layers)) {
            // Only the order of the sums differs, in up to 94 layers.
            assert_close(&format!("{layer:?}"), blocked, planes, 2e-5);
        }
        assert_close("logits", &blocked.logits.expect("fc"), &planes.logits.expect("fc"), 2e-5);
    }
}
