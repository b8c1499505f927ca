//! Halving and doubling of height and width.

use candle_core::Result;

use crate::backend::resample::Resample;
use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::rearrange::{every_second, every_second_backward, sum_blocks, upsample};
use crate::tape::value::Value;

pub(super) fn resample(backend: &DeviceBackend, x: &Value, resample: Resample) -> Result<Value> {
    let x = DeviceArray::of(x)?;
    let out = match resample {
        Resample::Nearest => upsample(&x.tensor)?,
        Resample::Mean => (sum_blocks(&x.tensor)? * 0.25)?,
        Resample::Even => every_second(&x.tensor, 0)?,
        Resample::Odd => every_second(&x.tensor, 1)?,
    };
    Ok(backend.push_unary(&x, out, move |grad| match resample {
        Resample::Nearest => sum_blocks(&grad),
        Resample::Mean => upsample(&grad)? * 0.25,
        Resample::Even => every_second_backward(&grad, 0),
        Resample::Odd => every_second_backward(&grad, 1),
    }))
}
