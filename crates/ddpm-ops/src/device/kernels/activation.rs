//! Activation functions.

use candle_core::{Result, Tensor};

use crate::backend::activation::Activation;
use crate::device::kernels::elements::Elements;
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::thread_per_item;
use crate::device::kernels::memory::{address, address_to_write, optional_address, uninitialized};

/// `Elementwise` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Elementwise {
    x: u64,
    grad: u64,
    out: u64,
    count: i64,
    function: i32,
}

fn elementwise(kernel: &'static str, activation: Activation, x: &Tensor, grad: Option<&Tensor>) -> Result<Tensor> {
    let (device, count) = (x.device(), x.elem_count());
    let all: Vec<&Tensor> = [Some(x), grad].into_iter().flatten().collect();
    let elements = Elements::of(&all, count);
    let out = uninitialized(x.shape(), x.dtype(), device)?;
    let function = match activation {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::Mish => 2,
        Activation::Relu => 3,
    };
    let to = address_to_write(&out)?;
    let args = Elementwise { x: address(x)?, grad: optional_address(grad)?, out: to, count: count as i64, function };
    launch(device, elements, kernel, thread_per_item(count / elements.pack)?, &args)?;
    Ok(out)
}

/// The activation function of every element.
pub(crate) fn activation(activation: Activation, x: &Tensor) -> Result<Tensor> {
    elementwise("activation", activation, x, None)
}

/// The gradient of x in [`activation`]: grad · f′(x) for every element.
pub(crate) fn activation_backward(activation: Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    elementwise("activation_grad", activation, x, Some(grad))
}
