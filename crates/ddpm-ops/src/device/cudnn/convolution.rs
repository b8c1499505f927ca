//! The convolution and its gradients by cuDNN.

use candle_core::{DType, Result, Tensor};

use crate::device::convolution_shape::{ConvolutionShape, Pass};
use crate::device::cudnn::Attempt;
use crate::device::cudnn::algorithm::Products;
use crate::device::cudnn::library::{Key, Operands, run};
use crate::device::kernels::{address, address_to_write, uninitialized};
use crate::device::math_mode;

/// The convolution of `x` [batch, height, width, in] with `kernel` [out, k, k, in].
pub(in crate::device) fn convolution(x: &Tensor, kernel: &Tensor) -> Result<Attempt> {
    let Some(products) = products(x) else { return Ok(unsupported(x)) };
    let (batch, height, width, _) = x.dims4()?;
    let out = uninitialized((batch, height, width, kernel.dim(0)?), x.dtype(), x.device())?;
    let shape = ConvolutionShape::of(x, kernel.dim(0)?, kernel.dim(1)?)?;
    let operands = Operands { x: address(x)?, kernel: address(kernel)?, y: address_to_write(&out)? };
    Ok(run(x.device(), Key { pass: Pass::Forward, shape, products }, operands)?.map(|()| out))
}

/// The gradient of `x` in [`convolution`].
pub(in crate::device) fn convolution_input_backward(grad: &Tensor, kernel: &Tensor) -> Result<Attempt> {
    let Some(products) = products(grad) else { return Ok(unsupported(grad)) };
    let (batch, height, width, _) = grad.dims4()?;
    let out = uninitialized((batch, height, width, kernel.dim(3)?), grad.dtype(), grad.device())?;
    let shape = ConvolutionShape::of(&out, kernel.dim(0)?, kernel.dim(1)?)?;
    let operands = Operands { x: address_to_write(&out)?, kernel: address(kernel)?, y: address(grad)? };
    Ok(run(grad.device(), Key { pass: Pass::InputGradient, shape, products }, operands)?.map(|()| out))
}

/// The gradient of the kernel in [`convolution`], which has `side` × `side` pixels.
pub(in crate::device) fn convolution_kernel_backward(x: &Tensor, grad: &Tensor, side: usize) -> Result<Attempt> {
    let Some(products) = products(x) else { return Ok(unsupported(x)) };
    let out = uninitialized((grad.dim(3)?, side, side, x.dim(3)?), x.dtype(), x.device())?;
    let shape = ConvolutionShape::of(x, grad.dim(3)?, side)?;
    let operands = Operands { x: address(x)?, kernel: address_to_write(&out)?, y: address(grad)? };
    Ok(run(x.device(), Key { pass: Pass::KernelGradient, shape, products }, operands)?.map(|()| out))
}

/// The precision of the products, if cuDNN convolves images of this type and device.
fn products(x: &Tensor) -> Option<Products> {
    match x.dtype() {
        _ if !x.device().is_cuda() || x.elem_count() == 0 => None,
        DType::BF16 => Some(Products::Bf16),
        DType::F32 if math_mode::tf32() => Some(Products::Tf32),
        DType::F32 => Some(Products::F32),
        _ => None,
    }
}

fn unsupported(x: &Tensor) -> Attempt {
    Err(format!("cuDNN is used for f32 and bf16, not for {}", x.dtype().as_str()))
}
