//! The tensors that a network takes from a file, with a list of those that do not fit.

use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::{DType, Device, Tensor};
use ddpm_checkpoint::Tensors;

use crate::error::Result;

/// Named tensors of which a network takes what it needs.
///
/// A tensor that is missing or has another shape is noted and replaced by zeros, so that one error can list all
/// differences after the network is built.
#[derive(Debug)]
pub(crate) struct Weights<'a> {
    tensors: &'a Tensors,
    used: RefCell<BTreeSet<String>>,
    differences: RefCell<Vec<String>>,
}

impl<'a> Weights<'a> {
    pub(crate) fn new(tensors: &'a Tensors) -> Self {
        Self { tensors, used: RefCell::default(), differences: RefCell::default() }
    }

    /// The tensor with this name and shape, in f32 on the CPU.
    pub(crate) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.used.borrow_mut().insert(name.to_owned());
        let difference = match self.tensors.get(name) {
            Some(tensor) if tensor.dims() == shape => {
                return Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()?);
            }
            Some(tensor) => format!("`{name}` has the shape {:?}, expected {shape:?}", tensor.dims()),
            None => format!("`{name}` {shape:?} is missing"),
        };
        self.differences.borrow_mut().push(difference);
        Ok(Tensor::zeros(shape, DType::F32, &Device::Cpu)?)
    }

    /// The values of the tensor with this name and shape, in row-major order.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        Ok(self.get(name, shape)?.flatten_all()?.to_vec1()?)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All differences: first the tensors that the network expected, then those that it does not know and that
    /// `ignored` does not name.
    pub(crate) fn differences(self, ignored: impl Fn(&str) -> bool) -> Vec<String> {
        let used = self.used.into_inner();
        let unknown = self.tensors.iter().filter(|(name, _)| !used.contains(*name) && !ignored(name));
        let unknown = unknown.map(|(name, tensor)| format!("`{name}` {:?} is not part of the network", tensor.dims()));
        self.differences.into_inner().into_iter().chain(unknown).collect()
    }
}

/// The tensors that a network misses, with the weights of the formula that golden files use.
#[cfg(test)]
pub(crate) fn formula_tensors(error: &crate::error::FeaturesError) -> Tensors {
    let crate::error::FeaturesError::OtherNetwork { differences, .. } = error else { panic!("{error}") };
    let parse = |difference: &String| {
        let (name, rest) = difference.strip_prefix('`')?.split_once("` [")?;
        let dims = rest.strip_suffix("] is missing")?;
        let shape: Option<Vec<usize>> = dims.split(", ").map(|dim| dim.parse().ok()).collect();
        Some((name.to_owned(), ddpm_testkit::formula_tensor(name, &shape?)))
    };
    differences.iter().map(|difference| parse(difference).expect("a missing tensor")).collect()
}
