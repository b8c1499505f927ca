//! Convolutions by cuDNN, with the channels last.
//!
//! For each shape and direction, the first call times all of cuDNN's algorithms on its tensors. The fastest
//! deterministic one is kept for the rest of the process. Two processes may measure different times and choose
//! different algorithms, so their results agree up to rounding.
#![allow(unsafe_code, reason = "calls of cuDNN")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{from_ref, null_mut};
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtrMut};
use candle_core::cuda_backend::{DeviceId, gemm_reduced_precision_f32};
use candle_core::{CudaDevice, DType, Device, Error, Result, Tensor, bail};

use super::kernels::{address, address_to_write, to_i32, uninitialised};

/// Whether cuDNN convolves images of this type and device.
fn supports(x: &Tensor) -> bool {
    x.device().is_cuda() && matches!(x.dtype(), DType::F32 | DType::BF16) && x.elem_count() > 0
}

/// The convolution of `x` [batch, height, width, in] with `kernel` [out, k, k, in]. `None`, here and for the gradients,
/// if cuDNN does not support such images or has no algorithm for them.
pub(super) fn convolution(x: &Tensor, kernel: &Tensor) -> Result<Option<Tensor>> {
    if !supports(x) {
        return Ok(None);
    }
    let (batch, height, width, _) = x.dims4()?;
    let out = uninitialised((batch, height, width, kernel.dim(0)?), x.dtype(), x.device())?;
    let shape = Shape::of(x, kernel.dim(0)?, kernel.dim(1)?)?;
    let operands = Operands { x: address(x)?, kernel: address(kernel)?, y: address_to_write(&out)? };
    Ok(run(Direction::Forward, x.device(), operands, shape)?.then_some(out))
}

/// The gradient of `x` in [`convolution`].
pub(super) fn convolution_input_backward(grad: &Tensor, kernel: &Tensor) -> Result<Option<Tensor>> {
    if !supports(grad) {
        return Ok(None);
    }
    let (batch, height, width, _) = grad.dims4()?;
    let out = uninitialised((batch, height, width, kernel.dim(3)?), grad.dtype(), grad.device())?;
    let shape = Shape::of(&out, kernel.dim(0)?, kernel.dim(1)?)?;
    let operands = Operands { x: address_to_write(&out)?, kernel: address(kernel)?, y: address(grad)? };
    Ok(run(Direction::InputGradient, grad.device(), operands, shape)?.then_some(out))
}

/// The gradient of the kernel in [`convolution`], which has `side` × `side` pixels.
pub(super) fn convolution_kernel_backward(x: &Tensor, grad: &Tensor, side: usize) -> Result<Option<Tensor>> {
    if !supports(x) {
        return Ok(None);
    }
    let out = uninitialised((grad.dim(3)?, side, side, x.dim(3)?), x.dtype(), x.device())?;
    let shape = Shape::of(x, grad.dim(3)?, side)?;
    let operands = Operands { x: address(x)?, kernel: address_to_write(&out)?, y: address(grad)? };
    Ok(run(Direction::KernelGradient, x.device(), operands, shape)?.then_some(out))
}

/// The computation: the convolution or one of its gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Direction {
    Forward,
    InputGradient,
    KernelGradient,
}

/// Everything that the speed of an algorithm depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Shape {
    batch: c_int,
    height: c_int,
    width: c_int,
    channels_in: c_int,
    channels_out: c_int,
    side: c_int,
    bf16: bool,
    /// Whether the factors of f32 products may be rounded to TF32.
    tf32: bool,
}

impl Shape {
    fn of(x: &Tensor, channels_out: usize, side: usize) -> Result<Self> {
        let (batch, height, width, channels_in) = x.dims4()?;
        Ok(Self {
            batch: to_i32(batch)?,
            height: to_i32(height)?,
            width: to_i32(width)?,
            channels_in: to_i32(channels_in)?,
            channels_out: to_i32(channels_out)?,
            side: to_i32(side)?,
            bf16: x.dtype() == DType::BF16,
            tf32: gemm_reduced_precision_f32(),
        })
    }

    /// The number formats that an algorithm may multiply in.
    fn math(self) -> sys::cudnnMathType_t {
        match (self.bf16, self.tf32) {
            (true, _) => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
            // This is TF32 on a GPU that has it.
            (false, true) => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
            (false, false) => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        }
    }
}

/// The addresses of a convolution's tensors. One of them is written, depending on the direction, and the others are
/// read.
#[derive(Debug, Clone, Copy)]
struct Operands {
    x: u64,
    kernel: u64,
    y: u64,
}

/// cuDNN's descriptors of a convolution. There is one set for each shape and direction, and it lives as long as the
/// process.
#[derive(Debug)]
struct Descriptors {
    x: sys::cudnnTensorDescriptor_t,
    kernel: sys::cudnnFilterDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
}

/// An algorithm of cuDNN.
#[derive(Debug, Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    InputGradient(sys::cudnnConvolutionBwdDataAlgo_t),
    KernelGradient(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// How convolutions of one shape are computed in one direction.
#[derive(Debug)]
struct Plan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    /// Size of the workspace in bytes.
    workspace: usize,
}

/// Sizes in bytes of the workspace that algorithms are timed with. The first that can be allocated is used.
const SEARCH_BYTES: [usize; 4] = [1 << 30, 1 << 28, 1 << 26, 1 << 22];

/// The state of cuDNN for one GPU.
struct Library {
    handle: sys::cudnnHandle_t,
    /// `None` if cuDNN has no algorithm for that shape.
    plans: HashMap<(Shape, Direction), Option<Plan>>,
    /// The workspace, as large as the largest that any plan has needed so far.
    workspace: Option<CudaSlice<u8>>,
}

// SAFETY: any thread may use cuDNN's handles and descriptors, one thread at a time, and a mutex guards them.
unsafe impl Send for Library {}

static LIBRARIES: Mutex<Option<HashMap<DeviceId, Library>>> = Mutex::new(None);

fn failed(what: &str) -> impl Fn(CudnnError) -> Error + '_ {
    move |error| Error::msg(format!("cuDNN: {what}: {error:?}"))
}

/// Computes a convolution, and returns false if cuDNN has no algorithm for it.
fn run(direction: Direction, device: &Device, operands: Operands, shape: Shape) -> Result<bool> {
    let device = device.as_cuda_device()?;
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match libraries.get_or_insert_default().entry(device.id()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Library::new(device)?),
    };
    library.run(device, direction, operands, shape)
}

impl Library {
    fn new(device: &CudaDevice) -> Result<Self> {
        let handle = result::create_handle().map_err(failed("cannot start"))?;
        // SAFETY: the handle has just been created, and the stream lives as long as the device.
        unsafe { result::set_stream(handle, device.cuda_stream().cu_stream().cast()) }
            .map_err(failed("cannot set the stream"))?;
        Ok(Self { handle, plans: HashMap::new(), workspace: None })
    }

    fn run(&mut self, device: &CudaDevice, direction: Direction, operands: Operands, shape: Shape) -> Result<bool> {
        if !self.plans.contains_key(&(shape, direction)) {
            let plan = self.plan(device, direction, operands, shape)?;
            self.plans.insert((shape, direction), plan);
        }
        let Some(Some(plan)) = self.plans.get(&(shape, direction)) else { return Ok(false) };
        if self.workspace.as_ref().map_or(0, CudaSlice::len) < plan.workspace {
            // The old workspace is freed first, as there may be no room for both.
            self.workspace = None;
            // SAFETY: a workspace is written before it is read.
            self.workspace = Some(unsafe { device.alloc::<u8>(plan.workspace) }?);
        }
        let workspace = match &mut self.workspace {
            Some(workspace) if plan.workspace > 0 => workspace.device_ptr_mut(&device.cuda_stream()).0 as *mut c_void,
            _ => null_mut(),
        };
        let Descriptors { x, kernel, convolution, y } = plan.descriptors;
        let (one, zero) = (1f32, 0f32);
        let (one, zero) = (from_ref(&one).cast(), from_ref(&zero).cast());
        let Operands { x: at_x, kernel: at_kernel, y: at_y } = operands;
        let (handle, size) = (self.handle, plan.workspace);
        // SAFETY: the descriptors hold the shapes of the tensors at these addresses. The tensors live until this
        // function returns, and memory that is freed afterwards is freed in the order of the stream, after this
        // convolution.
        unsafe {
            match plan.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle,
                    one,
                    x,
                    at_x as _,
                    kernel,
                    at_kernel as _,
                    convolution,
                    algorithm,
                    workspace,
                    size,
                    zero,
                    y,
                    at_y as _,
                ),
                Algorithm::InputGradient(algorithm) => result::convolution_backward_data(
                    handle,
                    one,
                    kernel,
                    at_kernel as _,
                    y,
                    at_y as _,
                    convolution,
                    algorithm,
                    workspace,
                    size,
                    zero,
                    x,
                    at_x as _,
                ),
                Algorithm::KernelGradient(algorithm) => result::convolution_backward_filter(
                    handle,
                    one,
                    x,
                    at_x as _,
                    y,
                    at_y as _,
                    convolution,
                    algorithm,
                    workspace,
                    size,
                    zero,
                    kernel,
                    at_kernel as _,
                ),
            }
        }
        .map_err(failed("a convolution failed"))?;
        Ok(true)
    }

    /// Times the algorithms for a shape and chooses one.
    fn plan(
        &mut self,
        device: &CudaDevice,
        direction: Direction,
        operands: Operands,
        shape: Shape,
    ) -> Result<Option<Plan>> {
        let descriptors = Descriptors::new(shape).map_err(failed("cannot describe a convolution"))?;
        self.workspace = None;
        // SAFETY: a workspace is written before it is read.
        let room = |bytes: &usize| unsafe { device.alloc::<u8>(*bytes) }.ok();
        let Some(mut workspace) = SEARCH_BYTES.iter().find_map(room) else {
            bail!("CUDA_ERROR_OUT_OF_MEMORY: no room for the workspace of a convolution")
        };
        let size = workspace.len();
        let at = workspace.device_ptr_mut(&device.cuda_stream()).0 as *mut c_void;
        let Descriptors { x, kernel, convolution, y } = descriptors;
        let Operands { x: at_x, kernel: at_kernel, y: at_y } = operands;
        let handle = self.handle;
        // cuDNN sorts the algorithms by time, so the first usable one is the fastest.
        macro_rules! fastest {
            ($find:ident, $Timed:ty, $variant:path, ($($argument:expr),*)) => {{
                const MAX: usize = 16;
                let (mut found, mut timed) = (0, [const { MaybeUninit::<$Timed>::uninit() }; MAX]);
                // SAFETY: as in `run`; `timed` has room for as many results as are requested.
                let status = unsafe {
                    sys::$find(handle, $($argument,)* MAX as c_int, &mut found, timed.as_mut_ptr().cast(), at, size)
                };
                if status != sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS {
                    return Ok(None);
                }
                let timed = timed.iter().take(usize::try_from(found).unwrap_or(0));
                // SAFETY: cuDNN has written the first `found` elements.
                let usable: Vec<$Timed> = timed.map(|timed| unsafe { timed.assume_init() }).filter(|timed| {
                    timed.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS && timed.memory <= size
                }).collect();
                let deterministic = |timed: &&$Timed| timed.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
                let best = usable.iter().find(deterministic).or(usable.first());
                best.map(|best| ($variant(best.algo), best.memory, best.mathType))
            }};
        }
        let best = match direction {
            Direction::Forward => fastest!(
                cudnnFindConvolutionForwardAlgorithmEx,
                sys::cudnnConvolutionFwdAlgoPerf_t,
                Algorithm::Forward,
                (x, at_x as _, kernel, at_kernel as _, convolution, y, at_y as _)
            ),
            Direction::InputGradient => fastest!(
                cudnnFindConvolutionBackwardDataAlgorithmEx,
                sys::cudnnConvolutionBwdDataAlgoPerf_t,
                Algorithm::InputGradient,
                (kernel, at_kernel as _, y, at_y as _, convolution, x, at_x as _)
            ),
            Direction::KernelGradient => fastest!(
                cudnnFindConvolutionBackwardFilterAlgorithmEx,
                sys::cudnnConvolutionBwdFilterAlgoPerf_t,
                Algorithm::KernelGradient,
                (x, at_x as _, y, at_y as _, convolution, kernel, at_kernel as _)
            ),
        };
        let Some((algorithm, workspace, math)) = best else { return Ok(None) };
        // An algorithm may have been timed in TF32, but full f32 was requested: keep f32.
        let math = if shape.math() == sys::cudnnMathType_t::CUDNN_FMA_MATH { shape.math() } else { math };
        // SAFETY: the descriptor belongs to this plan.
        unsafe { result::set_convolution_math_type(convolution, math) }.map_err(failed("cannot set the math type"))?;
        Ok(Some(Plan { descriptors, algorithm, workspace }))
    }
}

impl Descriptors {
    fn new(shape: Shape) -> std::result::Result<Self, CudnnError> {
        use sys::cudnnDataType_t::{CUDNN_DATA_BFLOAT16, CUDNN_DATA_FLOAT};
        use sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let Shape { batch, height, width, channels_in, channels_out, side, bf16, .. } = shape;
        let data = if bf16 { CUDNN_DATA_BFLOAT16 } else { CUDNN_DATA_FLOAT };
        let descriptors = Self {
            x: result::create_tensor_descriptor()?,
            kernel: result::create_filter_descriptor()?,
            convolution: result::create_convolution_descriptor()?,
            y: result::create_tensor_descriptor()?,
        };
        let Self { x, kernel, convolution, y } = descriptors;
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        // SAFETY: all four descriptors have just been created. Sums are f32 for every type of data.
        unsafe {
            result::set_tensor4d_descriptor(x, CUDNN_TENSOR_NHWC, data, [batch, channels_in, height, width])?;
            result::set_tensor4d_descriptor(y, CUDNN_TENSOR_NHWC, data, [batch, channels_out, height, width])?;
            result::set_filter4d_descriptor(kernel, data, CUDNN_TENSOR_NHWC, [channels_out, channels_in, side, side])?;
            let (padding, one) = (side / 2, 1);
            result::set_convolution2d_descriptor(
                convolution,
                padding,
                padding,
                one,
                one,
                one,
                one,
                mode,
                CUDNN_DATA_FLOAT,
            )?;
            result::set_convolution_math_type(convolution, shape.math())?;
        }
        Ok(descriptors)
    }
}
