//! The branches of the blocks of Inception-v3 (Szegedy et al. 2016, fig. 5 to 7 and 10).

use crate::convolution_layer::ConvolutionLayer;
use crate::convolution_shape::{Activation, ConvolutionShape, PaddingRule};
use crate::error::Result;
use crate::execution::Execution;
use crate::inception::block::{Block, Branch, Pooling};
use crate::weights::Weights;

/// ε of all batch normalizations.
const EPS: f64 = 0.001;

/// Builds layers of the weights of the network.
#[derive(Debug)]
pub(crate) struct LayerBuilder<'a> {
    pub(crate) weights: &'a Weights<'a>,
    pub(crate) execution: &'a Execution,
}

/// A convolution: the end of its name, output channels, kernel, stride and whether zeros keep height and width.
type Spec = (&'static str, usize, (usize, usize), usize, bool);

fn pointwise(name: &'static str, channels: usize) -> Spec {
    (name, channels, (1, 1), 1, true)
}

fn same(name: &'static str, channels: usize, kernel: (usize, usize)) -> Spec {
    (name, channels, kernel, 1, true)
}

fn halving(name: &'static str, channels: usize) -> Spec {
    (name, channels, (3, 3), 2, false)
}

impl LayerBuilder<'_> {
    /// A convolution with batch normalization and ReLU.
    pub(crate) fn layer(
        &self,
        name: &str,
        channels_in: usize,
        channels_out: usize,
        kernel: (usize, usize),
        stride: usize,
        same: bool,
    ) -> Result<ConvolutionLayer> {
        let padding = if same { PaddingRule::Fixed(kernel.0 / 2, kernel.1 / 2) } else { PaddingRule::Fixed(0, 0) };
        let (depthwise, activation) = (false, Activation::Relu);
        let shape = ConvolutionShape { channels_in, channels_out, kernel, stride, padding, depthwise, activation };
        let names = (&*format!("{name}.conv"), &*format!("{name}.bn"));
        ConvolutionLayer::new(self.weights, names, shape, EPS, self.execution)
    }

    /// The branch of a block with this name and number of input channels.
    fn branch(
        &self,
        (block, mut channels): (&str, usize),
        pooling: Pooling,
        layers: &[Spec],
        ends: &[Spec],
    ) -> Result<Branch> {
        let layer = |channels, (name, channels_out, kernel, stride, same): &Spec| {
            self.layer(&format!("{block}.{name}"), channels, *channels_out, *kernel, *stride, *same)
        };
        let mut built = Vec::new();
        for spec in layers {
            built.push(layer(channels, spec)?);
            channels = spec.1;
        }
        let ends = ends.iter().map(|spec| layer(channels, spec)).collect::<Result<_>>()?;
        Ok(Branch { pooling, layers: built, ends })
    }

    /// A block of 35 × 35 pixels: `Mixed_5b` to `Mixed_5d`.
    pub(crate) fn block_35(&self, name: &str, channels: usize, pooled: usize) -> Result<Block> {
        let input = (name, channels);
        let (five, three) = ((5, 5), (3, 3));
        let triple =
            [pointwise("branch3x3dbl_1", 64), same("branch3x3dbl_2", 96, three), same("branch3x3dbl_3", 96, three)];
        Ok(Block(vec![
            self.branch(input, Pooling::None, &[pointwise("branch1x1", 64)], &[])?,
            self.branch(input, Pooling::None, &[pointwise("branch5x5_1", 48), same("branch5x5_2", 64, five)], &[])?,
            self.branch(input, Pooling::None, &triple, &[])?,
            self.branch(input, Pooling::Average, &[pointwise("branch_pool", pooled)], &[])?,
        ]))
    }

    /// `Mixed_6a`: from 35 × 35 to 17 × 17 pixels.
    pub(crate) fn reduction_to_17(&self, name: &str, channels: usize) -> Result<Block> {
        let input = (name, channels);
        let triple =
            [pointwise("branch3x3dbl_1", 64), same("branch3x3dbl_2", 96, (3, 3)), halving("branch3x3dbl_3", 96)];
        Ok(Block(vec![
            self.branch(input, Pooling::None, &[halving("branch3x3", 384)], &[])?,
            self.branch(input, Pooling::None, &triple, &[])?,
            self.branch(input, Pooling::MaxStride2, &[], &[])?,
        ]))
    }

    /// A block of 17 × 17 pixels with `hidden` channels within the branches: `Mixed_6b` to `Mixed_6e`.
    pub(crate) fn block_17(&self, name: &str, hidden: usize) -> Result<Block> {
        let input = (name, 768);
        let (row, column) = ((1, 7), (7, 1));
        let single =
            [pointwise("branch7x7_1", hidden), same("branch7x7_2", hidden, row), same("branch7x7_3", 192, column)];
        let double = [
            pointwise("branch7x7dbl_1", hidden),
            same("branch7x7dbl_2", hidden, column),
            same("branch7x7dbl_3", hidden, row),
            same("branch7x7dbl_4", hidden, column),
            same("branch7x7dbl_5", 192, row),
        ];
        Ok(Block(vec![
            self.branch(input, Pooling::None, &[pointwise("branch1x1", 192)], &[])?,
            self.branch(input, Pooling::None, &single, &[])?,
            self.branch(input, Pooling::None, &double, &[])?,
            self.branch(input, Pooling::Average, &[pointwise("branch_pool", 192)], &[])?,
        ]))
    }

    /// `Mixed_7a`: from 17 × 17 to 8 × 8 pixels.
    pub(crate) fn reduction_to_8(&self, name: &str) -> Result<Block> {
        let input = (name, 768);
        let seven = [
            pointwise("branch7x7x3_1", 192),
            same("branch7x7x3_2", 192, (1, 7)),
            same("branch7x7x3_3", 192, (7, 1)),
            halving("branch7x7x3_4", 192),
        ];
        Ok(Block(vec![
            self.branch(input, Pooling::None, &[pointwise("branch3x3_1", 192), halving("branch3x3_2", 320)], &[])?,
            self.branch(input, Pooling::None, &seven, &[])?,
            self.branch(input, Pooling::MaxStride2, &[], &[])?,
        ]))
    }

    /// A block of 8 × 8 pixels with this pooling: `Mixed_7b` and `Mixed_7c`.
    pub(crate) fn block_8(&self, name: &str, channels: usize, pooling: Pooling) -> Result<Block> {
        let input = (name, channels);
        let ends = |row, column| [same(row, 384, (1, 3)), same(column, 384, (3, 1))];
        let double = [pointwise("branch3x3dbl_1", 448), same("branch3x3dbl_2", 384, (3, 3))];
        let (single_ends, double_ends) =
            (ends("branch3x3_2a", "branch3x3_2b"), ends("branch3x3dbl_3a", "branch3x3dbl_3b"));
        Ok(Block(vec![
            self.branch(input, Pooling::None, &[pointwise("branch1x1", 320)], &[])?,
            self.branch(input, Pooling::None, &[pointwise("branch3x3_1", 384)], &single_ends)?,
            self.branch(input, Pooling::None, &double, &double_ends)?,
            self.branch(input, pooling, &[pointwise("branch_pool", 192)], &[])?,
        ]))
    }
}
