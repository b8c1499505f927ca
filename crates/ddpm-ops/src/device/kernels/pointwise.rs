//! Element by element, and sums over positions.

use candle_core::{DType, Result, Tensor};

use super::launch::{
    Division, Elements, Image, address, address_to_write, launch, number, one_each, optional, unwritten,
};
use crate::backend::activation::Activation;

/// `Planes` in `kernels.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Planes {
    x: u64,
    residual: u64,
    out: u64,
    offset: u64,
    partial: u64,
    sums: u64,
    image: Image,
    blocks: i32,
    images: i32,
}

impl Planes {
    fn of(x: &Tensor, division: &Division) -> Result<Self> {
        let (blocks, images) = (number(division.blocks)?, number(division.images)?);
        Ok(Self { x: address(x)?, image: division.image, blocks, images, ..Self::default() })
    }
}

pub(in crate::device) fn sums_over_positions(x: &Tensor) -> Result<Tensor> {
    let (device, division) = (x.device(), Division::of(x, &[])?);
    let partial = unwritten((division.images, division.blocks, division.channels(), 2), DType::F32, device)?;
    let sums = unwritten((division.images, division.channels()), DType::F32, device)?;
    let (to_partial, to_sums) = (address_to_write(&partial)?, address_to_write(&sums)?);
    let args = Planes { partial: to_partial, sums: to_sums, ..Planes::of(x, &division)? };
    launch(device, division.elements, "plane_sums", (division.grid(), division.block()), &args)?;
    launch(device, division.elements, "plane_totals", one_each(sums.elem_count())?, &args)?;
    Ok(sums)
}

pub(in crate::device) fn raised(y: &Tensor, offset: Option<&Tensor>, residual: Option<&Tensor>) -> Result<Tensor> {
    let (device, division) = (y.device(), Division::of(y, &[residual])?);
    let out = unwritten(y.shape(), y.dtype(), device)?;
    let (offset, residual) = (optional(offset)?, optional(residual)?);
    let args = Planes { out: address_to_write(&out)?, offset, residual, ..Planes::of(y, &division)? };
    launch(device, division.elements, "plane_raise", (division.grid(), division.block()), &args)?;
    Ok(out)
}

/// `Each` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Each {
    x: u64,
    grad: u64,
    out: u64,
    count: i64,
    which: i32,
}

fn each(kernel: &'static str, f: Activation, x: &Tensor, grad: Option<&Tensor>) -> Result<Tensor> {
    let (device, count) = (x.device(), x.elem_count());
    let all: Vec<&Tensor> = [Some(x), grad].into_iter().flatten().collect();
    let elements = Elements::of(&all, count);
    let out = unwritten(x.shape(), x.dtype(), device)?;
    let which = match f {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::Mish => 2,
        Activation::Relu => 3,
    };
    let to = address_to_write(&out)?;
    let args = Each { x: address(x)?, grad: optional(grad)?, out: to, count: count as i64, which };
    launch(device, elements, kernel, one_each(count / elements.pack)?, &args)?;
    Ok(out)
}

pub(in crate::device) fn function(f: Activation, x: &Tensor) -> Result<Tensor> {
    each("each", f, x, None)
}

pub(in crate::device) fn function_by_input(f: Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    each("each_grad", f, x, Some(grad))
}
