//! The table of addresses that the kernels of an update read.

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use crate::device::kernels::launch_shape::to_i32;
use crate::device::kernels::memory::{address, address_to_write};
use crate::device::training_cache::TrainingCache;
use crate::device::upload::upload;
use crate::tape::gradient::Gradient;

/// The number of elements of a parameter that a block processes.
pub(super) const CHUNK: usize = 1 << 16;

/// The number of i64 in `Chunk` in `kernels.cu`.
const COLUMNS: usize = 9;

/// A parameter with the state that updates keep for it.
#[derive(Debug, Clone)]
pub struct Updated {
    /// The parameter θ.
    pub parameter: Var,
    /// The first moment m.
    pub moment1: Var,
    /// The second moment v.
    pub moment2: Var,
    /// The EMA of θ.
    pub average: Var,
}

/// A row for each chunk of each parameter, `Chunk` in `kernels.cu`. The table stays at one address, so that a captured
/// update can read it, and is copied to the device when it has changed.
#[derive(Debug)]
pub(super) struct UpdateTable {
    all: Vec<Addresses>,
    /// [chunk, column] in i64.
    on_device: Tensor,
    /// The contents of `on_device`.
    rows: Vec<i64>,
    /// The table of a captured update.
    captured: Option<Vec<i64>>,
}

/// The addresses of a parameter and its state.
#[derive(Debug)]
struct Addresses {
    /// The tensors, kept alive.
    updated: Updated,
    /// Parameter, both moments, and EMA.
    addresses: [u64; 4],
    elements: usize,
    /// The number of input channels of a convolution, and of pixels of its kernel, as two i32 in the order of the
    /// fields on a little-endian machine.
    channels_and_taps: i64,
}

impl Addresses {
    fn of(updated: Updated) -> Result<Self> {
        let Updated { parameter, moment1, moment2, average } = &updated;
        let addresses = [
            address_to_write(parameter)?,
            address_to_write(moment1)?,
            address_to_write(moment2)?,
            address_to_write(average)?,
        ];
        let (channels, taps) = match *parameter.dims() {
            [_, channels, height, width] => (channels, height * width),
            [_, channels] => (channels, 1),
            _ => (1, 1),
        };
        let channels_and_taps = i64::from(to_i32(channels)?) | i64::from(to_i32(taps)?) << 32;
        let elements = parameter.elem_count();
        Ok(Self { updated, addresses, elements, channels_and_taps })
    }

    /// Appends the rows of this parameter. `kernel` is the copy of the parameter that convolutions read.
    fn push_rows(&self, rows: &mut Vec<i64>, gradient: Option<&Gradient>, kernel: Option<&Tensor>) -> Result<()> {
        let gradient = match gradient.map(Gradient::as_tensor) {
            Some(Some(tensor)) if tensor.elem_count() == self.elements => address(tensor)?,
            None => 0,
            Some(_) => {
                bail!("device update: expected a gradient of {} f32 on the device of its parameter", self.elements)
            }
        };
        // A kernel of the type and layout of its parameter may share its memory.
        let kernel = kernel.map(address).transpose()?.filter(|kernel| *kernel != self.addresses[0]).unwrap_or(0);
        for from in (0..self.elements).step_by(CHUNK) {
            let at = |base: u64| if base == 0 { 0 } else { (base + 4 * from as u64).cast_signed() };
            let count = (self.elements - from).min(CHUNK) as i64;
            rows.extend(self.addresses.map(at));
            rows.extend([at(gradient), count, kernel.cast_signed(), from as i64, self.channels_and_taps]);
        }
        Ok(())
    }
}

impl UpdateTable {
    pub(super) fn new(all: Vec<Updated>, device: &Device) -> Result<Self> {
        let all = all.into_iter().map(Addresses::of).collect::<Result<Vec<_>>>()?;
        let chunks = all.iter().map(|of| of.elements.div_ceil(CHUNK)).sum::<usize>();
        let on_device = Tensor::zeros((chunks, COLUMNS), DType::I64, device)?;
        Ok(Self { all, on_device, rows: Vec::new(), captured: None })
    }

    pub(super) fn chunks(&self) -> usize {
        self.on_device.dims()[0]
    }

    pub(super) fn address(&self) -> Result<u64> {
        address(&self.on_device)
    }

    /// Fills the table for an update with these gradients. If the update is captured, [`Self::upload_captured`] copies
    /// the table to the device.
    ///
    /// Returns the type of the convolution weights that the update writes; f32 if there are none.
    pub(super) fn fill(
        &mut self,
        gradients: &[Option<Gradient>],
        cache: Option<&TrainingCache>,
        captured: bool,
    ) -> Result<DType> {
        let mut rows = Vec::with_capacity(self.on_device.elem_count());
        let mut dtype = None;
        for (of, gradient) in self.all.iter().zip(gradients) {
            let kernel = cache.and_then(|cache| cache.kernel_of(&of.updated.parameter));
            if let Some(found) = kernel.as_ref().map(Tensor::dtype)
                && found != *dtype.get_or_insert(found)
            {
                bail!("device update: expected all convolution weights in one type, found {dtype:?} and {found:?}");
            }
            of.push_rows(&mut rows, gradient.as_ref(), kernel.as_ref())?;
        }
        if captured {
            self.captured = Some(rows);
        } else {
            self.upload(rows)?;
        }
        Ok(dtype.unwrap_or(DType::F32))
    }

    /// Copies the table of the captured update to the device, if another one is there.
    pub(super) fn upload_captured(&mut self) -> Result<()> {
        match self.captured.clone() {
            Some(rows) => self.upload(rows),
            None => Ok(()),
        }
    }

    fn upload(&mut self, rows: Vec<i64>) -> Result<()> {
        if self.rows != rows {
            let table = Tensor::from_slice(&rows, self.on_device.shape(), &Device::Cpu)?;
            self.on_device.slice_set(&upload(&table, self.on_device.device())?, 0, 0)?;
            self.rows = rows;
        }
        Ok(())
    }
}
