//! Group normalisation and what surrounds it.

use candle_core::{DType, Result, Tensor};

use super::launch::{
    Division, Image, address, address_to_write, launch, number, one_each, optional, rows_of, unwritten,
};
use crate::device::fused_norm::{FusedNorm, FusedNormGradient};

/// `Norm` in `kernels.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Norm {
    y: u64,
    residual: u64,
    grad: u64,
    out: u64,
    offset: u64,
    weight: u64,
    bias: u64,
    partial: u64,
    means: u64,
    groups: u64,
    sums: u64,
    along: u64,
    by_offset: u64,
    image: Image,
    group_channels: i32,
    blocks: i32,
    silu: i32,
    eps: f32,
}

/// What the gradient needs of the forward pass.
#[derive(Debug)]
pub(in crate::device) struct Statistics {
    /// Of each channel of each image, [batch, channel].
    means: Tensor,
    /// Mean and 1/σ of each group, [batch, group, 2].
    groups: Tensor,
}

fn args(y: &Tensor, around: &FusedNorm<'_>, division: &Division, partial: &Tensor) -> Result<Norm> {
    Ok(Norm {
        y: address(y)?,
        offset: optional(around.offset)?,
        weight: address(around.weight)?,
        bias: address(around.bias)?,
        partial: address_to_write(partial)?,
        image: division.image,
        group_channels: number(division.channels() / around.groups)?,
        blocks: number(division.blocks)?,
        silu: i32::from(around.silu),
        eps: around.eps as f32,
        ..Norm::default()
    })
}

/// A block for each group of each image.
fn of_groups(division: &Division, groups: usize) -> Result<([u32; 3], [u32; 2])> {
    let ([groups, ..], block) = rows_of(groups, division.channels() / groups.max(1))?;
    Ok(([groups, division.images as u32, 1], block))
}

pub(in crate::device) fn normalisation(y: &Tensor, around: &FusedNorm<'_>) -> Result<(Tensor, Statistics)> {
    let (device, division) = (y.device(), Division::of(y, &[around.residual])?);
    let (images, channels) = (division.images, division.channels());
    let wide = |shape: &[usize]| unwritten(shape, DType::F32, device);
    let partial = wide(&[images, division.blocks, channels, 2])?;
    let statistics = Statistics { means: wide(&[images, channels])?, groups: wide(&[images, around.groups, 2])? };
    let out = unwritten(y.shape(), y.dtype(), device)?;
    let args = Norm {
        residual: optional(around.residual)?,
        out: address_to_write(&out)?,
        means: address_to_write(&statistics.means)?,
        groups: address_to_write(&statistics.groups)?,
        ..args(y, around, &division, &partial)?
    };
    let images = (division.grid(), division.block());
    launch(device, division.elements, "norm_sums", images, &args)?;
    launch(device, division.elements, "norm_statistics", of_groups(&division, around.groups)?, &args)?;
    launch(device, division.elements, "norm_apply", images, &args)?;
    Ok((out, statistics))
}

pub(in crate::device) fn normalisation_by_all(
    y: &Tensor,
    around: &FusedNorm<'_>,
    statistics: &Statistics,
    grad: &Tensor,
) -> Result<FusedNormGradient> {
    let (device, division) = (y.device(), Division::of(y, &[Some(grad)])?);
    let (images, channels) = (division.images, division.channels());
    let wide = |shape: &[usize]| unwritten(shape, DType::F32, device);
    let partial = wide(&[images, division.blocks, channels, 2])?;
    let (sums, along) = (wide(&[images, channels, 2])?, wide(&[images, around.groups, 2])?);
    let (offset, out) = (wide(&[images, channels])?, unwritten(y.shape(), y.dtype(), device)?);
    let args = Norm {
        grad: address(grad)?,
        out: address_to_write(&out)?,
        means: address(&statistics.means)?,
        groups: address(&statistics.groups)?,
        sums: address_to_write(&sums)?,
        along: address_to_write(&along)?,
        by_offset: address_to_write(&offset)?,
        ..args(y, around, &division, &partial)?
    };
    let of_images = (division.grid(), division.block());
    launch(device, division.elements, "norm_grad_sums", of_images, &args)?;
    launch(device, division.elements, "norm_grad_statistics", of_groups(&division, around.groups)?, &args)?;
    launch(device, division.elements, "norm_grad_apply", of_images, &args)?;
    let (weight, bias) = (wide(&[channels])?, wide(&[channels])?);
    let vectors = Vectors {
        sums: address(&sums)?,
        weight: address_to_write(&weight)?,
        bias: address_to_write(&bias)?,
        channels: number(channels)?,
        images: number(images)?,
    };
    launch(device, division.elements, "norm_grad_vectors", one_each(channels)?, &vectors)?;
    Ok(FusedNormGradient { input: out, offset, weight, bias })
}

/// `Vectors` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Vectors {
    sums: u64,
    weight: u64,
    bias: u64,
    channels: i32,
    images: i32,
}
