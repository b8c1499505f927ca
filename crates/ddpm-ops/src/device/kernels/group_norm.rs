//! Group normalization with the operations around it.

use candle_core::{DType, Result, Tensor};

use crate::device::fused_norm::{FusedNorm, FusedNormGradient};
use crate::device::kernels::launch::launch;
use crate::device::kernels::launch_shape::{
    ImageDivision, ImageShape, LaunchShape, block_per_row, offset_stride, thread_per_item, to_i32,
};
use crate::device::kernels::memory::{address, address_to_write, optional_address, uninitialized};

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
    channel_means: u64,
    group_statistics: u64,
    channel_sums: u64,
    group_means: u64,
    offset_grad: u64,
    image: ImageShape,
    group_channels: i32,
    blocks: i32,
    silu: i32,
    offset_stride: i32,
    eps: f32,
}

/// The statistics of a forward pass, saved for its backward pass.
#[derive(Debug)]
pub(crate) struct Statistics {
    /// The mean of each channel of each image, [image, channel].
    channel_means: Tensor,
    /// The mean and 1/σ of each group of each image, [image, group, 2].
    group_statistics: Tensor,
}

/// The arguments that the forward and the backward pass have in common.
fn args(y: &Tensor, norm: &FusedNorm<'_>, division: &ImageDivision, partial: &Tensor) -> Result<Norm> {
    Ok(Norm {
        y: address(y)?,
        offset: optional_address(norm.offset)?,
        weight: address(norm.weight)?,
        bias: address(norm.bias)?,
        partial: address_to_write(partial)?,
        image: division.image,
        group_channels: to_i32(division.channels() / norm.groups)?,
        blocks: to_i32(division.blocks)?,
        silu: i32::from(norm.silu),
        offset_stride: offset_stride(norm.offset)?,
        eps: norm.eps as f32,
        ..Norm::default()
    })
}

/// The launch shape with one block for each group of each image.
fn block_per_group(division: &ImageDivision, groups: usize) -> Result<LaunchShape> {
    let ([groups, ..], block) = block_per_row(groups, division.channels() / groups.max(1))?;
    Ok(([groups, division.images as u32, 1], block))
}

/// silu(norm(y + offset)) + residual of `y` [image, …, channel], and the statistics for its gradient.
pub(crate) fn group_norm(y: &Tensor, norm: &FusedNorm<'_>) -> Result<(Tensor, Statistics)> {
    let (device, division) = (y.device(), ImageDivision::of(y, &[norm.residual])?);
    let (images, channels) = (division.images, division.channels());
    let wide = |shape: &[usize]| uninitialized(shape, DType::F32, device);
    let partial = wide(&[images, division.blocks, channels, 2])?;
    let statistics =
        Statistics { channel_means: wide(&[images, channels])?, group_statistics: wide(&[images, norm.groups, 2])? };
    let out = uninitialized(y.shape(), y.dtype(), device)?;
    let args = Norm {
        residual: optional_address(norm.residual)?,
        out: address_to_write(&out)?,
        channel_means: address_to_write(&statistics.channel_means)?,
        group_statistics: address_to_write(&statistics.group_statistics)?,
        ..args(y, norm, &division, &partial)?
    };
    launch(device, division.elements, "norm_sums", division.shape(), &args)?;
    launch(device, division.elements, "norm_statistics", block_per_group(&division, norm.groups)?, &args)?;
    launch(device, division.elements, "norm_apply", division.shape(), &args)?;
    Ok((out, statistics))
}

/// The gradients of [`group_norm`] with respect to y, offset, weight and bias.
pub(crate) fn group_norm_backward(
    y: &Tensor,
    norm: &FusedNorm<'_>,
    statistics: &Statistics,
    grad: &Tensor,
) -> Result<FusedNormGradient> {
    let (device, division) = (y.device(), ImageDivision::of(y, &[Some(grad)])?);
    let (images, channels) = (division.images, division.channels());
    let wide = |shape: &[usize]| uninitialized(shape, DType::F32, device);
    let partial = wide(&[images, division.blocks, channels, 2])?;
    let (sums, group_means) = (wide(&[images, channels, 2])?, wide(&[images, norm.groups, 2])?);
    let (offset, out) = (wide(&[images, channels])?, uninitialized(y.shape(), y.dtype(), device)?);
    let args = Norm {
        grad: address(grad)?,
        out: address_to_write(&out)?,
        channel_means: address(&statistics.channel_means)?,
        group_statistics: address(&statistics.group_statistics)?,
        channel_sums: address_to_write(&sums)?,
        group_means: address_to_write(&group_means)?,
        offset_grad: address_to_write(&offset)?,
        ..args(y, norm, &division, &partial)?
    };
    launch(device, division.elements, "norm_grad_sums", division.shape(), &args)?;
    launch(device, division.elements, "norm_grad_statistics", block_per_group(&division, norm.groups)?, &args)?;
    launch(device, division.elements, "norm_grad_apply", division.shape(), &args)?;
    let (weight, bias) = (wide(&[channels])?, wide(&[channels])?);
    let parameters = ParameterGradients {
        channel_sums: address(&sums)?,
        weight: address_to_write(&weight)?,
        bias: address_to_write(&bias)?,
        channels: to_i32(channels)?,
        images: to_i32(images)?,
    };
    launch(device, division.elements, "norm_grad_parameters", thread_per_item(channels)?, &parameters)?;
    Ok(FusedNormGradient { input: out, offset, weight, bias })
}

/// `ParameterGradients` in `kernels.cu`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct ParameterGradients {
    channel_sums: u64,
    weight: u64,
    bias: u64,
    channels: i32,
    images: i32,
}
