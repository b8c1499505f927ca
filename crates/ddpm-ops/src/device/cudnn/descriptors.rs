//! cuDNN's descriptors of a convolution.
#![allow(unsafe_code, reason = "calls of cuDNN")]

use std::ffi::c_int;
use std::ptr::null_mut;

use candle_core::Result;

use crate::device::convolution_shape::{ConvolutionShape, Pass};
use crate::device::cudnn::algorithm::{MathType, Products};
use crate::device::cudnn::api::{
    Opaque, cudnnCreateConvolutionDescriptor, cudnnCreateFilterDescriptor, cudnnCreateTensorDescriptor,
    cudnnDestroyConvolutionDescriptor, cudnnDestroyFilterDescriptor, cudnnDestroyTensorDescriptor,
    cudnnSetConvolution2dDescriptor, cudnnSetConvolutionMathType, cudnnSetFilter4dDescriptor,
    cudnnSetTensor4dDescriptor,
};
use crate::device::cudnn::status::{Status, check};
use crate::device::kernels::to_i32;

// Values of enums in `cudnn.h`, which are the same in versions 8 and 9.
const NHWC: u32 = 1;
const FLOAT: u32 = 0;
const BFLOAT16: u32 = 9;
const CROSS_CORRELATION: u32 = 1;

/// The descriptors of one shape and type.
pub(super) struct Descriptors {
    pub(super) x: Opaque,
    pub(super) kernel: Opaque,
    pub(super) y: Opaque,
    pub(super) convolution: Opaque,
}

impl Descriptors {
    /// The descriptors of a convolution whose algorithms are timed with the math type of `products`.
    ///
    /// # Errors
    /// When an axis exceeds the range of `int`, or cuDNN refuses the description.
    pub(super) fn new(shape: ConvolutionShape, products: Products) -> Result<Self> {
        let all = [shape.batch, shape.height, shape.width, shape.channels_in, shape.channels_out, shape.side];
        let [batch, height, width, channels_in, channels_out, side] = to_ints(all)?;
        let data = if products == Products::Bf16 { BFLOAT16 } else { FLOAT };
        let (padding, one) = (side / 2, 1);
        let what = || format!("cannot describe a convolution of {shape}");
        let mut own = Self { x: null_mut(), kernel: null_mut(), y: null_mut(), convolution: null_mut() };
        // SAFETY: each descriptor is created before it is set, and destroyed once, when `own` is dropped. Sums are f32
        // for every type of data.
        unsafe {
            check(cudnnCreateTensorDescriptor(&mut own.x), what)?;
            check(cudnnCreateFilterDescriptor(&mut own.kernel), what)?;
            check(cudnnCreateTensorDescriptor(&mut own.y), what)?;
            check(cudnnCreateConvolutionDescriptor(&mut own.convolution), what)?;
            check(cudnnSetTensor4dDescriptor(own.x, NHWC, data, batch, channels_in, height, width), what)?;
            check(cudnnSetTensor4dDescriptor(own.y, NHWC, data, batch, channels_out, height, width), what)?;
            check(cudnnSetFilter4dDescriptor(own.kernel, data, NHWC, channels_out, channels_in, side, side), what)?;
            let mode = CROSS_CORRELATION;
            check(
                cudnnSetConvolution2dDescriptor(own.convolution, padding, padding, one, one, one, one, mode, FLOAT),
                what,
            )?;
        }
        own.set_math_type(products.requested_math())?;
        Ok(own)
    }

    /// Sets the number formats that the convolution multiplies in.
    pub(super) fn set_math_type(&self, math: MathType) -> Result<()> {
        // SAFETY: the descriptor has been created and not been destroyed.
        let status = unsafe { cudnnSetConvolutionMathType(self.convolution, math as u32) };
        check(status, || format!("cannot set the math type {}", math.name()))
    }

    /// The two descriptors that the pass reads, and the one it writes, in the order of its functions.
    pub(super) fn in_order(&self, pass: Pass) -> [Opaque; 3] {
        pass.in_order(self.x, self.kernel, self.y)
    }
}

impl Pass {
    /// The operands in the order of this pass's functions: the two that are read, then the one that is written.
    pub(super) fn in_order<T>(self, x: T, kernel: T, y: T) -> [T; 3] {
        match self {
            Self::Forward => [x, kernel, y],
            Self::InputGradient => [kernel, y, x],
            Self::KernelGradient => [x, y, kernel],
        }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        type Destroy = unsafe extern "C" fn(Opaque) -> Status;
        let all: [(Opaque, Destroy); 4] = [
            (self.x, cudnnDestroyTensorDescriptor),
            (self.kernel, cudnnDestroyFilterDescriptor),
            (self.y, cudnnDestroyTensorDescriptor),
            (self.convolution, cudnnDestroyConvolutionDescriptor),
        ];
        for (descriptor, destroy) in all {
            if !descriptor.is_null() {
                // SAFETY: the descriptor was created, and nothing uses it any more. A failure could not be handled.
                let _ = unsafe { destroy(descriptor) };
            }
        }
    }
}

fn to_ints<const N: usize>(all: [usize; N]) -> Result<[c_int; N]> {
    let mut ints = [0; N];
    for (int, n) in ints.iter_mut().zip(all) {
        *int = to_i32(n)?;
    }
    Ok(ints)
}
