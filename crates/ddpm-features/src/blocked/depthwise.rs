//! Depthwise convolution: each channel with its own kernel.

use pulp::{Arch, Simd, WithSimd};

use crate::blocked::block::{Block, LANES, vectors, vectors_mut};
use crate::blocked::convolution::blocks_of;
use crate::blocked::image::{BlockedImage, Padding};
use crate::blocked::row_product::Epilogue;
use crate::convolution_shape::ConvolutionShape;

/// A depthwise convolution with the weights in the layout of the kernel.
#[derive(Debug)]
pub(crate) struct BlockedDepthwise {
    pub(crate) shape: ConvolutionShape,
    /// [channel block][row and column of the kernel]
    weights: Vec<Block>,
    bias: Vec<Block>,
}

impl BlockedDepthwise {
    /// Packs the weights [channel, 1, row, column].
    pub(crate) fn new(shape: ConvolutionShape, weight: &[f32], bias: &[f32]) -> Self {
        let area = shape.kernel.0 * shape.kernel.1;
        let mut weights = vec![[0.0; LANES]; shape.channels_out.div_ceil(LANES) * area];
        for (i, weight) in weight.iter().enumerate() {
            let (channel, position) = (i / area, i % area);
            weights[channel / LANES * area + position][channel % LANES] = *weight;
        }
        Self { shape, weights, bias: blocks_of(bias) }
    }

    /// The convolution of an image, followed by the activation.
    pub(crate) fn forward(&self, image: &BlockedImage) -> BlockedImage {
        let padding = self.shape.padding(image.height, image.width);
        let (height, width) = self.shape.output_size(image.height, image.width);
        let mut out = BlockedImage::zeros(image.channels, height, width);
        let mut padded = self.padded_plane(image.height, image.width, &padding);
        let plane = out.plane();
        for block in 0..image.blocks() {
            let padded_width = image.width + padding.left + padding.right;
            padding.copy_into(image.block(block), image.width, &mut padded, padded_width);
            let to = &mut out.pixels[block * plane..(block + 1) * plane];
            self.forward_block(block, &padded, padded_width, to, width);
        }
        out
    }

    /// Zeros for one channel block of an image with its padding.
    pub(crate) fn padded_plane(&self, height: usize, width: usize, padding: &Padding) -> Vec<Block> {
        let (height, width) = padding.padded(height, width);
        vec![[0.0; LANES]; height * width]
    }

    /// The convolution of one channel block whose padding is in place.
    pub(crate) fn forward_block(
        &self,
        block: usize,
        padded: &[Block],
        padded_width: usize,
        out: &mut [Block],
        width: usize,
    ) {
        let area = self.shape.kernel.0 * self.shape.kernel.1;
        Arch::new().dispatch(DepthwisePlane {
            kernel: self.shape.kernel,
            stride: self.shape.stride,
            weights: &self.weights[block * area..(block + 1) * area],
            bias: &self.bias[block],
            input: padded,
            input_width: padded_width,
            out,
            width,
            epilogue: self.shape.activation.epilogue(),
        });
    }
}

/// The work for one channel block.
struct DepthwisePlane<'a> {
    kernel: (usize, usize),
    stride: usize,
    weights: &'a [Block],
    bias: &'a Block,
    input: &'a [Block],
    input_width: usize,
    out: &'a mut [Block],
    width: usize,
    epilogue: Epilogue,
}

impl DepthwisePlane<'_> {
    #[inline(always)]
    fn all_rows<S: Simd, const V: usize, const MAX: usize>(&mut self, simd: S) {
        for y in 0..self.out.len() / self.width.max(1) {
            let mut x = 0;
            while x + MAX <= self.width {
                self.tile::<S, V, MAX>(simd, y, x);
                x += MAX;
            }
            if MAX > 4 && x + 4 <= self.width {
                self.tile::<S, V, 4>(simd, y, x);
                x += 4;
            }
            if MAX > 2 && x + 2 <= self.width {
                self.tile::<S, V, 2>(simd, y, x);
                x += 2;
            }
            while x < self.width {
                self.tile::<S, V, 1>(simd, y, x);
                x += 1;
            }
        }
    }

    /// `P` output pixels, whose independent sums hide the latency of the additions.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const P: usize>(&mut self, simd: S, y: usize, x: usize) {
        let mut sums = [*vectors::<S, V>(self.bias); P];
        let span = (P - 1) * self.stride + 1;
        for row in 0..self.kernel.0 {
            let start = (y * self.stride + row) * self.input_width + x * self.stride;
            for column in 0..self.kernel.1 {
                let weight = vectors::<S, V>(&self.weights[row * self.kernel.1 + column]);
                let input = &self.input[start + column..start + column + span];
                for (p, sums) in sums.iter_mut().enumerate() {
                    let input = vectors::<S, V>(&input[p * self.stride]);
                    for v in 0..V {
                        sums[v] = simd.mul_add_e_f32s(weight[v], input[v], sums[v]);
                    }
                }
            }
        }
        let (low, high) = (simd.splat_f32s(self.epilogue.low), simd.splat_f32s(self.epilogue.high));
        let at = y * self.width + x;
        for (out, sums) in self.out[at..at + P].iter_mut().zip(sums) {
            let out = vectors_mut::<S, V>(out);
            for v in 0..V {
                out[v] = simd.min_f32s(simd.max_f32s(sums[v], low), high);
            }
        }
    }
}

impl WithSimd for DepthwisePlane<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if const { S::F32_LANES == 16 } {
            self.all_rows::<S, 1, 8>(simd);
        } else if const { S::F32_LANES == 8 } {
            self.all_rows::<S, 2, 4>(simd);
        } else if const { S::F32_LANES == 4 } {
            self.all_rows::<S, 4, 4>(simd);
        } else {
            self.all_rows::<S, 16, 1>(simd);
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    #[test]
    fn all_vectors_give_the_same_plane() {
        let value = |i: usize| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0;
        let blocks = |count: usize| -> Vec<Block> {
            (0..count).map(|i| std::array::from_fn(|lane| value(i * LANES + lane))).collect()
        };
        for (stride, width) in [(1, 13), (2, 6)] {
            let (height, input_width) = (2, (width - 1) * stride + 3);
            let (input, weights, bias) = (blocks(((height - 1) * stride + 3) * input_width), blocks(9), blocks(1));
            let run = |compute: &dyn Fn(DepthwisePlane<'_>)| {
                let mut out = vec![[0.0; LANES]; height * width];
                compute(DepthwisePlane {
                    kernel: (3, 3),
                    stride,
                    weights: &weights,
                    bias: &bias[0],
                    input: &input,
                    input_width,
                    out: &mut out,
                    width,
                    epilogue: Epilogue { low: -1.0, high: 1.0 },
                });
                out
            };
            let close = |a: &[Block], b: &[Block]| {
                a.as_flattened().iter().zip(b.as_flattened()).all(|(a, b)| (a - b).abs() < 1e-5)
            };
            let expected = run(&|plane| plane.with_simd(Scalar::new()));
            assert!(close(&run(&|plane| Arch::new().dispatch(plane)), &expected));
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = pulp::x86::V3::try_new() {
                assert!(close(&run(&|plane| Simd::vectorize(simd, plane)), &expected));
            }
        }
    }
}
