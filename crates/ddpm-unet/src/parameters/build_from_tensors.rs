//! A `VarBuilder` backend over a map of tensors that reports every difference at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor, bail};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

use crate::error::UnetError;

/// Builds a network from named tensors, which have to be exactly those that `build` requests.
///
/// The network holds the tensors themselves, in their own dtype and on their own device: one of a [`candle_core::Var`]
/// follows the variable. With candle's `VarBuilder::from_tensors`, the first missing tensor ends the construction and
/// additional tensors go unnoticed.
///
/// # Errors
/// [`UnetError::Weights`] with every tensor that is missing, unknown or has another shape; the error of `build`
/// otherwise.
pub fn build_from_tensors<T, E>(
    tensors: &BTreeMap<String, Tensor>,
    build: impl FnOnce(VarBuilder<'_>) -> Result<T, E>,
) -> Result<T, UnetError>
where
    UnetError: From<E>,
{
    let requests = Arc::new(Mutex::new(Requests::default()));
    let (dtype, device) = match tensors.values().next() {
        Some(tensor) => (tensor.dtype(), tensor.device().clone()),
        None => (DType::F32, Device::Cpu),
    };
    let backend = CheckedTensors { tensors, requests: requests.clone() };
    let network = build(VarBuilder::from_backend(Box::new(backend), dtype, device))?;
    let Requests { names, mut problems } =
        std::mem::take(&mut *requests.lock().unwrap_or_else(PoisonError::into_inner));
    let unknown = tensors.keys().filter(|name| !names.contains(*name));
    problems.extend(unknown.map(|name| format!("{name}: not a parameter of this network")));
    if problems.is_empty() { Ok(network) } else { Err(UnetError::Weights(problems)) }
}

struct CheckedTensors<'a> {
    tensors: &'a BTreeMap<String, Tensor>,
    requests: Arc<Mutex<Requests>>,
}

/// The parameters that have been requested so far.
#[derive(Default)]
struct Requests {
    names: BTreeSet<String>,
    problems: Vec<String>,
}

impl SimpleBackend for CheckedTensors<'_> {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.names.insert(name.to_owned());
        let expected = shape.dims();
        let problem = match self.tensors.get(name) {
            Some(tensor) if tensor.dims() == expected => return Ok(tensor.clone()),
            Some(tensor) => format!("{name}: expected shape {expected:?}, found {:?}", tensor.dims()),
            None => format!("{name}: missing, expected shape {expected:?}"),
        };
        requests.problems.push(problem);
        // A placeholder, so that the construction continues and finds the other differences; it fails at the end.
        Tensor::zeros(1, dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.names.insert(name.to_owned());
        match self.tensors.get(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => bail!("{name}: missing"),
        }
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}
