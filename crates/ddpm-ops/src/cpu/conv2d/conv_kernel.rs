//! The trait that every convolution kernel implements.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;

use crate::cpu::buffer::Buffer;
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};

/// An algorithm for convolutions at stride 1 on the CPU, with both of its gradients.
///
/// A kernel is a type without state. What depends on the weights ([`ConvWeights`]) and what is summed over images
/// ([`WeightGradientSums`]) is passed from call to call in types of the kernel's own, which are opaque to its callers.
///
/// The gradient with respect to the input is itself a convolution: of the output's gradient with the flipped weights,
/// in the geometry [`Geometry::transposed`]. A kernel therefore packs flipped weights and reuses
/// [`ConvKernel::forward`].
pub(crate) trait ConvKernel: Debug + Send + Sync {
    /// A name that no other kernel has. It identifies the kernel in the cache of packed weights.
    fn name(&self) -> &'static str;

    /// Whether the kernel can run, and is worth running, for this geometry and number of images on this machine.
    fn supports(&self, geometry: &Geometry, images: usize) -> bool;

    /// The number of images that one call of [`ConvKernel::forward`] or [`ConvKernel::accumulate`] should be given, at
    /// least 1, for `images` images in all and `threads` threads.
    fn images_together(&self, geometry: &Geometry, images: usize, threads: usize) -> usize;

    /// Whether a call divides its whole work among threads.
    ///
    /// Such a kernel gets all threads as soon as there are fewer calls than threads. Any other kernel gets them only if
    /// there are fewer images than threads; otherwise its calls are made on several threads at once, each with its own
    /// images.
    fn divides_its_work(&self) -> bool;

    /// Packs `weight` [channel_out, channel_in, ky, kx] into the layout that [`ConvKernel::forward`] reads.
    fn pack<'a>(&self, geometry: &Geometry, weight: &'a [f32]) -> ConvWeights<'a>;

    /// Packs the flipped weights, for the gradient with respect to the input: the kernel rotated by 180°, input and
    /// output channels exchanged. `weight` and `geometry` are those of the convolution itself.
    fn pack_flipped(&self, geometry: &Geometry, weight: &[f32]) -> ConvWeights<'static>;

    /// Convolves `images` images of `input` on up to `threads` threads and writes the result to `out`.
    ///
    /// `bias` has one value for each output channel. For the gradient with respect to the input, `geometry` is the
    /// transposed one and `weights` are the flipped ones.
    #[allow(clippy::too_many_arguments, reason = "the operands of a convolution")]
    fn forward(
        &self,
        geometry: &Geometry,
        weights: &ConvWeights<'_>,
        images: usize,
        input: &Input<'_>,
        bias: Option<&[f32]>,
        out: &mut Output<'_>,
        threads: usize,
    );

    /// Sums of zero images, for one thread to accumulate the gradients of weight and bias in.
    fn gradient_sums(&self, geometry: &Geometry) -> WeightGradientSums;

    /// Adds the contribution of `images` images of `input` and of the output's gradient `grad`
    /// [image, channel_out, height, width].
    fn accumulate(&self, sums: &mut WeightGradientSums, images: usize, input: &Input<'_>, grad: &[f32], threads: usize);

    /// The gradients of weight [channel_out, channel_in, ky, kx] and bias `[channel_out]`: the sums of all threads,
    /// added in their order.
    fn finish(&self, geometry: &Geometry, sums: Vec<WeightGradientSums>) -> (Buffer, Buffer);
}

/// The weights of a convolution in the layout of one kernel.
#[derive(Debug)]
pub(crate) enum ConvWeights<'a> {
    /// [channel_out, channel_in, ky, kx], for a kernel that packs nothing: the network's own values where they are not
    /// flipped.
    Plain(Cow<'a, [f32]>),
    /// A type of the kernel's own.
    Packed {
        /// The packed weights.
        layout: Box<dyn Any + Send + Sync>,
        /// The memory that they take.
        bytes: usize,
    },
}

impl<'a> ConvWeights<'a> {
    /// Weights in a layout that takes `bytes` bytes.
    pub(crate) fn packed<L: Any + Send + Sync>(layout: L, bytes: usize) -> Self {
        Self::Packed { layout: Box::new(layout), bytes }
    }

    /// The memory that the weights take.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Plain(values) => size_of_val(&values[..]),
            Self::Packed { bytes, .. } => *bytes,
        }
    }

    /// The weights in a form that can be cached between passes; None for plain ones, which would only be copied.
    pub(crate) fn into_cacheable(self) -> Option<ConvWeights<'static>> {
        match self {
            Self::Plain(_) => None,
            Self::Packed { layout, bytes } => Some(ConvWeights::Packed { layout, bytes }),
        }
    }

    /// The weights in the layout `L`.
    ///
    /// # Panics
    /// When another kernel packed them: a bug of the caller.
    pub(crate) fn layout<L: Any>(&self) -> &L {
        match self {
            Self::Packed { layout, .. } => layout.downcast_ref().expect("weights that this kernel packed"),
            Self::Plain(_) => panic!("expected packed weights, found plain ones"),
        }
    }

    /// The values [channel_out, channel_in, ky, kx].
    ///
    /// # Panics
    /// When they are packed: a bug of the caller.
    pub(crate) fn plain(&self) -> &[f32] {
        match self {
            Self::Plain(values) => values,
            Self::Packed { .. } => panic!("expected plain weights, found packed ones"),
        }
    }
}

/// The gradients of weight and bias summed over some images, in a type of the kernel's own.
#[derive(Debug)]
pub(crate) struct WeightGradientSums(Box<dyn Any + Send>);

impl WeightGradientSums {
    pub(crate) fn new<S: Any + Send>(sums: S) -> Self {
        Self(Box::new(sums))
    }

    /// The sums of a kernel whose type of sums is `S`.
    ///
    /// # Panics
    /// When they are another kernel's: a bug of the caller.
    pub(crate) fn get_mut<S: Any>(&mut self) -> &mut S {
        self.0.downcast_mut().expect("sums that this kernel began")
    }

    /// The sums of several threads.
    ///
    /// # Panics
    /// When they are another kernel's: a bug of the caller.
    pub(crate) fn into_vec<S: Any>(all: Vec<Self>) -> Vec<S> {
        all.into_iter().map(|sums| *sums.0.downcast().expect("sums that this kernel began")).collect()
    }
}
