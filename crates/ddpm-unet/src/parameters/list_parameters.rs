//! A `VarBuilder` backend that records which parameters a network requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use super::parameter_spec::ParameterSpec;

/// Lists every parameter that `build` requests from its `VarBuilder`, by name.
///
/// No parameter is allocated: `build` receives zeros that share the storage of a single element, so listing the
/// parameters of a large network takes milliseconds. What `build` returns is dropped.
///
/// # Errors
/// The error of `build`, and an error when it requests one name with two shapes.
///
/// # Examples
/// ```
/// use ddpm_unet::layers::Conv2d;
///
/// let parameters = ddpm_unet::list_parameters(|vb| Conv2d::new(3, 64, 7, vb.pp("conv_in")))?;
/// assert_eq!(parameters["conv_in.weight"].shape, [64, 3, 7, 7]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn list_parameters<T, E>(
    build: impl FnOnce(VarBuilder<'static>) -> Result<T, E>,
) -> Result<BTreeMap<String, ParameterSpec>, E> {
    let recorder = Recorder::default();
    let parameters = recorder.parameters.clone();
    build(VarBuilder::from_backend(Box::new(recorder), DType::F32, Device::Cpu))?;
    Ok(std::mem::take(&mut *parameters.lock().unwrap_or_else(PoisonError::into_inner)))
}

#[derive(Default)]
struct Recorder {
    parameters: Arc<Mutex<BTreeMap<String, ParameterSpec>>>,
}

impl SimpleBackend for Recorder {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let spec = ParameterSpec { shape: shape.dims().to_vec(), init };
        let mut parameters = self.parameters.lock().unwrap_or_else(PoisonError::into_inner);
        match parameters.get(name) {
            Some(first) if first.shape != spec.shape => {
                bail!("{name}: requested with shape {:?} and with shape {:?}", first.shape, spec.shape)
            }
            Some(_) => {}
            None => {
                parameters.insert(name.to_owned(), spec);
            }
        }
        Tensor::zeros(1, dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        bail!("{name}: its shape is needed to list it; use `get` instead of `get_unchecked`")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}
