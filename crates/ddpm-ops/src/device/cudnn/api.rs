//! The functions of cuDNN that convolutions need.
//!
//! They are declared here, and not taken from cudarc, because cudarc declares statuses, algorithms and math types as
//! Rust enums: a value of another version of cuDNN would be undefined behavior. Here they are integers.
//!
//! cudarc's build script links the library. The three passes have functions of one signature, in which `a` and `b` are
//! read and `c` is written. The order of the tensors depends on the pass; see [`Pass`].
#![allow(unsafe_code, reason = "functions of cuDNN")]
#![allow(clashing_extern_declarations, reason = "cudarc declares them with enums")]

use std::ffi::{c_int, c_void};

use crate::device::convolution_shape::Pass;
use crate::device::cudnn::algorithm::TimedAlgorithm;
use crate::device::cudnn::status::Status;

/// A handle or a descriptor of cuDNN.
pub(super) type Opaque = *mut c_void;

/// Times all algorithms. Handle; a, b, convolution, c; number of results requested and returned, results; workspace and
/// its size.
type Find = unsafe extern "C" fn(
    Opaque,
    Opaque,
    *const c_void,
    Opaque,
    *const c_void,
    Opaque,
    Opaque,
    *mut c_void,
    c_int,
    *mut c_int,
    *mut TimedAlgorithm,
    *mut c_void,
    usize,
) -> Status;

/// Handle; a, b, convolution, c; algorithm; the size.
type WorkspaceSize = unsafe extern "C" fn(Opaque, Opaque, Opaque, Opaque, Opaque, u32, *mut usize) -> Status;

/// Handle; the factor of the result; a, b; convolution, algorithm; workspace and its size; the factor of the previous
/// contents of c; c.
type Run = unsafe extern "C" fn(
    Opaque,
    *const f32,
    Opaque,
    *const c_void,
    Opaque,
    *const c_void,
    Opaque,
    u32,
    *mut c_void,
    usize,
    *const f32,
    Opaque,
    *mut c_void,
) -> Status;

/// The functions of one pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct PassApi {
    pub(super) find: Find,
    pub(super) workspace_size: WorkspaceSize,
    pub(super) run: Run,
}

impl PassApi {
    pub(super) fn of(pass: Pass) -> Self {
        match pass {
            Pass::Forward => Self {
                find: cudnnFindConvolutionForwardAlgorithmEx,
                workspace_size: cudnnGetConvolutionForwardWorkspaceSize,
                run: cudnnConvolutionForward,
            },
            Pass::InputGradient => Self {
                find: cudnnFindConvolutionBackwardDataAlgorithmEx,
                workspace_size: cudnnGetConvolutionBackwardDataWorkspaceSize,
                run: cudnnConvolutionBackwardData,
            },
            Pass::KernelGradient => Self {
                find: cudnnFindConvolutionBackwardFilterAlgorithmEx,
                workspace_size: cudnnGetConvolutionBackwardFilterWorkspaceSize,
                run: cudnnConvolutionBackwardFilter,
            },
        }
    }
}

/// Declares functions of the three types above.
macro_rules! pass_functions {
    ($($find:ident, $size:ident, $run:ident;)*) => {
        unsafe extern "C" {
            $(
                fn $find(
                    handle: Opaque,
                    a_descriptor: Opaque,
                    a: *const c_void,
                    b_descriptor: Opaque,
                    b: *const c_void,
                    convolution: Opaque,
                    c_descriptor: Opaque,
                    c: *mut c_void,
                    requested: c_int,
                    returned: *mut c_int,
                    results: *mut TimedAlgorithm,
                    workspace: *mut c_void,
                    workspace_bytes: usize,
                ) -> Status;
                fn $size(
                    handle: Opaque,
                    a_descriptor: Opaque,
                    b_descriptor: Opaque,
                    convolution: Opaque,
                    c_descriptor: Opaque,
                    algorithm: u32,
                    workspace_bytes: *mut usize,
                ) -> Status;
                fn $run(
                    handle: Opaque,
                    factor: *const f32,
                    a_descriptor: Opaque,
                    a: *const c_void,
                    b_descriptor: Opaque,
                    b: *const c_void,
                    convolution: Opaque,
                    algorithm: u32,
                    workspace: *mut c_void,
                    workspace_bytes: usize,
                    previous_factor: *const f32,
                    c_descriptor: Opaque,
                    c: *mut c_void,
                ) -> Status;
            )*
        }
    };
}

pass_functions! {
    cudnnFindConvolutionForwardAlgorithmEx, cudnnGetConvolutionForwardWorkspaceSize, cudnnConvolutionForward;
    cudnnFindConvolutionBackwardDataAlgorithmEx, cudnnGetConvolutionBackwardDataWorkspaceSize,
        cudnnConvolutionBackwardData;
    cudnnFindConvolutionBackwardFilterAlgorithmEx, cudnnGetConvolutionBackwardFilterWorkspaceSize,
        cudnnConvolutionBackwardFilter;
}

unsafe extern "C" {
    pub(super) fn cudnnCreate(handle: *mut Opaque) -> Status;
    pub(super) fn cudnnSetStream(handle: Opaque, stream: *mut c_void) -> Status;
    pub(super) fn cudnnCreateTensorDescriptor(descriptor: *mut Opaque) -> Status;
    pub(super) fn cudnnCreateFilterDescriptor(descriptor: *mut Opaque) -> Status;
    pub(super) fn cudnnCreateConvolutionDescriptor(descriptor: *mut Opaque) -> Status;
    pub(super) fn cudnnDestroyTensorDescriptor(descriptor: Opaque) -> Status;
    pub(super) fn cudnnDestroyFilterDescriptor(descriptor: Opaque) -> Status;
    pub(super) fn cudnnDestroyConvolutionDescriptor(descriptor: Opaque) -> Status;
    pub(super) fn cudnnSetTensor4dDescriptor(
        descriptor: Opaque,
        layout: u32,
        dtype: u32,
        batch: c_int,
        channels: c_int,
        height: c_int,
        width: c_int,
    ) -> Status;
    pub(super) fn cudnnSetFilter4dDescriptor(
        descriptor: Opaque,
        dtype: u32,
        layout: u32,
        channels_out: c_int,
        channels_in: c_int,
        height: c_int,
        width: c_int,
    ) -> Status;
    pub(super) fn cudnnSetConvolution2dDescriptor(
        descriptor: Opaque,
        pad_height: c_int,
        pad_width: c_int,
        stride_y: c_int,
        stride_x: c_int,
        dilation_y: c_int,
        dilation_x: c_int,
        mode: u32,
        sum_dtype: u32,
    ) -> Status;
    pub(super) fn cudnnSetConvolutionMathType(descriptor: Opaque, math: u32) -> Status;
}
