//! cuDNN's state for each GPU: its handle, its workspace, and the algorithms that were chosen.
#![allow(unsafe_code, reason = "calls of cuDNN")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda_backend::DeviceId;
use candle_core::cuda_backend::cudarc::driver::sys::CUstreamCaptureStatus;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut};
use candle_core::{CudaDevice, Device, Error, Result, bail};

use crate::device::convolution_report::{ConvolutionMethod, record_convolution};
use crate::device::convolution_shape::{ConvolutionShape, Pass};
use crate::device::cudnn::algorithm::{Choice, Products, TimedAlgorithm, choose};
use crate::device::cudnn::api::{Opaque, PassApi, cudnnCreate, cudnnSetStream};
use crate::device::cudnn::descriptors::Descriptors;
use crate::device::cudnn::status::check;

/// Sizes in bytes of the workspace that algorithms are timed with. The first that can be allocated is used.
const SEARCH_BYTES: [usize; 4] = [1 << 30, 1 << 28, 1 << 26, 1 << 22];

/// After this number of uses, a plan that was found with less than the first size of [`SEARCH_BYTES`] is searched
/// again: memory may have been short only for a moment.
const USES_OF_A_CONSTRAINED_PLAN: u32 = 100;

/// The convolution that a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pass: Pass,
    pub(super) shape: ConvolutionShape,
    pub(super) products: Products,
}

/// The addresses of a convolution's tensors. The pass decides which of them is written; the others are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operands {
    pub(super) x: u64,
    pub(super) kernel: u64,
    pub(super) y: u64,
}

/// The memory that convolutions use while they run, one after the other. A captured step keeps the one that it was
/// captured with.
pub(in crate::device) type Workspace = Arc<CudaSlice<u8>>;

/// How one convolution is computed.
struct Plan {
    descriptors: Descriptors,
    algorithm: u32,
    /// Size of the workspace in bytes.
    workspace: usize,
    method: ConvolutionMethod,
}

/// The result of a search.
struct Found {
    /// The plan, or why cuDNN has none.
    plan: std::result::Result<Plan, String>,
    /// How often the result is used before the algorithms are searched again; `None` if it is kept.
    uses_left: Option<u32>,
}

/// The state of cuDNN for one GPU.
struct Library {
    handle: Opaque,
    found: HashMap<Key, Found>,
    /// The workspace, as large as the largest that any plan has needed so far.
    workspace: Option<Workspace>,
}

// SAFETY: any thread may use cuDNN's handles and descriptors, one thread at a time, and a mutex guards them.
unsafe impl Send for Library {}

static LIBRARIES: Mutex<Option<HashMap<DeviceId, Library>>> = Mutex::new(None);

/// The present workspace of a GPU.
pub(in crate::device) fn workspace(device: &CudaDevice) -> Option<Workspace> {
    let libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    libraries.as_ref()?.get(&device.id())?.workspace.clone()
}

/// Computes a convolution, or returns the reason why cuDNN cannot.
pub(super) fn run(device: &Device, key: Key, operands: Operands) -> Result<std::result::Result<(), String>> {
    let device = device.as_cuda_device()?;
    let mut libraries = LIBRARIES.lock().unwrap_or_else(PoisonError::into_inner);
    let library = match libraries.get_or_insert_default().entry(device.id()) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Library::new(device)?),
    };
    library.run(device, key, operands)
}

/// Whether the operations of the device's stream are captured rather than computed.
fn is_capturing(device: &CudaDevice) -> Result<bool> {
    let status = device.cuda_stream().capture_status().map_err(Error::wrap)?;
    Ok(status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
}

impl Library {
    fn new(device: &CudaDevice) -> Result<Self> {
        let mut handle = null_mut();
        // SAFETY: cuDNN writes the handle, and the stream lives as long as the device.
        unsafe {
            check(cudnnCreate(&mut handle), || "cannot start".into())?;
            check(cudnnSetStream(handle, device.cuda_stream().cu_stream().cast()), || "cannot set the stream".into())?;
        }
        Ok(Self { handle, found: HashMap::new(), workspace: None })
    }

    fn run(&mut self, device: &CudaDevice, key: Key, operands: Operands) -> Result<std::result::Result<(), String>> {
        let capturing = is_capturing(device)?;
        let known = self.found.get(&key);
        if capturing && known.is_none() {
            bail!("cuDNN: a convolution of {} has to run once before it is captured", key.shape)
        }
        if !capturing && known.is_none_or(|found| found.uses_left == Some(0)) {
            // An error is not kept: the next call searches again.
            let found = self.search(device, key, operands)?;
            self.found.insert(key, found);
        }
        let Some(Found { plan, uses_left }) = self.found.get_mut(&key) else {
            bail!("cuDNN: the plan of a convolution is missing")
        };
        *uses_left = uses_left.map(|uses| uses.saturating_sub(1));
        let plan = match plan {
            Ok(plan) => plan,
            Err(reason) => return Ok(Err(reason.clone())),
        };
        if self.workspace.as_ref().map_or(0, |workspace| workspace.len()) < plan.workspace {
            if capturing {
                bail!("cuDNN: a convolution of {} has to run again before it is captured", key.shape)
            }
            // The old workspace is freed first, as there may be no room for both.
            self.workspace = None;
            // SAFETY: a workspace is written before it is read.
            self.workspace = Some(Arc::new(unsafe { device.alloc::<u8>(plan.workspace) }?));
        }
        let workspace = match &self.workspace {
            Some(workspace) if plan.workspace > 0 => workspace.device_ptr(&device.cuda_stream()).0 as *mut c_void,
            _ => null_mut(),
        };
        let [a, b, c] = plan.descriptors.in_order(key.pass);
        let [at_a, at_b, at_c] = operands.in_order(key.pass);
        let (one, zero) = (1f32, 0f32);
        // SAFETY: the descriptors hold the shapes of the tensors at these addresses. The tensors live until this
        // function returns, and memory that is freed afterwards is freed in the order of the stream, after this
        // convolution.
        let status = unsafe {
            (PassApi::of(key.pass).run)(
                self.handle,
                &one,
                a,
                at_a as _,
                b,
                at_b as _,
                plan.descriptors.convolution,
                plan.algorithm,
                workspace,
                plan.workspace,
                &zero,
                c,
                at_c as _,
            )
        };
        let Key { pass, shape, .. } = key;
        check(status, || format!("the {pass} pass of a convolution of {shape} failed"))?;
        record_convolution(pass, shape, &plan.method);
        Ok(Ok(()))
    }

    /// Times the algorithms for a convolution and chooses one.
    ///
    /// # Errors
    /// When there is no memory for the search, or an algorithm fails for another reason than missing support and no
    /// other one is usable.
    fn search(&mut self, device: &CudaDevice, key: Key, operands: Operands) -> Result<Found> {
        let Key { pass, shape, products } = key;
        let descriptors = Descriptors::new(shape, products)?;
        self.workspace = None;
        // SAFETY: a workspace is written before it is read.
        let room = |bytes: &usize| unsafe { device.alloc::<u8>(*bytes) }.ok();
        let Some(mut workspace) = SEARCH_BYTES.iter().find_map(room) else {
            bail!("CUDA_ERROR_OUT_OF_MEMORY: no room for the workspace of a convolution")
        };
        let size = workspace.len();
        let constrained = size < SEARCH_BYTES[0];
        let uses_left = constrained.then_some(USES_OF_A_CONSTRAINED_PLAN);
        let at = workspace.device_ptr_mut(&device.cuda_stream()).0 as *mut c_void;
        let [a, b, c] = descriptors.in_order(pass);
        let [at_a, at_b, at_c] = operands.in_order(pass);
        let (mut count, mut timed) = (0, [TimedAlgorithm::EMPTY; 16]);
        // SAFETY: as in `run`; `timed` has room for as many results as are requested.
        let status = unsafe {
            (PassApi::of(pass).find)(
                self.handle,
                a,
                at_a as _,
                b,
                at_b as _,
                descriptors.convolution,
                c,
                at_c as _,
                timed.len() as c_int,
                &mut count,
                timed.as_mut_ptr(),
                at,
                size,
            )
        };
        if status.is_not_supported() {
            return Ok(Found { plan: Err(status.to_string()), uses_left });
        }
        let what = || format!("no algorithm for the {pass} pass of a convolution of {shape}");
        check(status, what)?;
        let timed = &timed[..usize::try_from(count).unwrap_or(0).min(timed.len())];
        let (best, math) = match choose(timed, products, size) {
            Choice::Algorithm(best, math) => (best, math),
            Choice::NotSupported(status) => {
                let reason = status.map_or_else(|| "no algorithm has the precision".to_owned(), |s| s.to_string());
                return Ok(Found { plan: Err(reason), uses_left });
            }
            Choice::Failed(status) => {
                check(status, what)?;
                bail!("cuDNN: {}", what())
            }
        };
        descriptors.set_math_type(math)?;
        let mut workspace = 0;
        // The size that was timed may be that of another math type.
        // SAFETY: cuDNN writes the size, and reads the descriptors.
        let status = unsafe {
            let size = PassApi::of(pass).workspace_size;
            size(self.handle, a, b, descriptors.convolution, c, best.algorithm, &mut workspace)
        };
        check(status, || format!("no workspace size for the {pass} pass of a convolution of {shape}"))?;
        let method = ConvolutionMethod::CuDnn {
            algorithm: best.algorithm,
            math: math.name(),
            deterministic: best.is_deterministic(),
            workspace_bytes: workspace,
            constrained,
        };
        if !best.is_deterministic() {
            tracing::warn!(
                "cuDNN has no deterministic algorithm for the {pass} pass of a convolution of {shape}: two runs from \
                 one seed may differ"
            );
        }
        Ok(Found { plan: Ok(Plan { descriptors, algorithm: best.algorithm, workspace, method }), uses_left })
    }
}

impl Operands {
    fn in_order(self, pass: Pass) -> [u64; 3] {
        pass.in_order(self.x, self.kernel, self.y)
    }
}
