//! A block of branches whose results are concatenated.

use crate::convolution_layer::ConvolutionLayer;
use crate::error::Result;
use crate::feature_map::FeatureMap;

/// The pooling at the beginning of a branch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pooling {
    None,
    /// The mean around every pixel; pixels outside of the image do not count.
    Average,
    /// The largest value around every pixel.
    Max,
    /// The largest value of windows at stride 2.
    MaxStride2,
}

/// One branch: a pooling, convolutions in turn, and then perhaps two convolutions of the same values.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pooling: Pooling,
    pub(crate) layers: Vec<ConvolutionLayer>,
    pub(crate) ends: Vec<ConvolutionLayer>,
}

impl Branch {
    /// Adds the results of the branch to `out`.
    fn forward(&self, x: &FeatureMap, out: &mut Vec<FeatureMap>) -> Result<()> {
        let mut x = match self.pooling {
            Pooling::None => x.clone(),
            Pooling::Average => x.average_pool()?,
            Pooling::Max => x.max_pool()?,
            Pooling::MaxStride2 => x.max_pool_stride_2()?,
        };
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        if self.ends.is_empty() {
            out.push(x);
        } else {
            for end in &self.ends {
                out.push(end.forward(&x)?);
            }
        }
        Ok(())
    }
}

/// A block.
#[derive(Debug)]
pub(crate) struct Block(pub(crate) Vec<Branch>);

impl Block {
    /// The channels of all branches, in order.
    pub(crate) fn forward(&self, x: &FeatureMap) -> Result<FeatureMap> {
        let mut out = Vec::new();
        for branch in &self.0 {
            branch.forward(x, &mut out)?;
        }
        FeatureMap::concat(out)
    }
}
