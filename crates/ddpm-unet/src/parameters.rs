//! The named parameters of a network: what there are, how they begin, where the layers get them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{Device, Result, Shape, Tensor};
use ddpm_rng::{Purpose, Stream};

use crate::UnetError;

/// How a parameter is initialised.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Uniform over [−bound, bound]. With bound = 1/√fan_in this is PyTorch's default for convolutions and linear layers,
    /// weight and bias alike, which the article uses.
    Uniform {
        /// The end of the interval.
        bound: f64,
    },
    /// The standard normal distribution, as PyTorch has tables.
    Normal,
    /// All ones.
    Ones,
    /// All zeros.
    Zeros,
}

/// The shape of a parameter and how it is initialised.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterSpec {
    /// Axis lengths.
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
}

/// Draws initial values, f32 on the CPU: a function of (seed, the specs) alone.
///
/// Each parameter has a stream of its own, at its position in name order.
pub(crate) fn initial_weights(specs: &BTreeMap<String, ParameterSpec>, seed: u64) -> Result<BTreeMap<String, Tensor>> {
    let draw = |(position, (name, spec)): (usize, (&String, &ParameterSpec))| {
        let size = spec.shape.iter().product();
        let stream = || Stream::new(seed, Purpose::InitialWeights, position as u64);
        let values = match spec.init {
            Init::Ones => vec![1.0; size],
            Init::Zeros => vec![0.0; size],
            Init::Uniform { bound } => {
                let mut stream = stream();
                (0..size).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32).collect()
            }
            Init::Normal => return Ok((name.clone(), stream().normal(spec.shape.as_slice(), &Device::Cpu)?)),
        };
        Ok((name.clone(), Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu)?))
    };
    specs.iter().enumerate().map(draw).collect()
}

/// Where layers under construction get their parameters from: a place in the tree of module paths.
#[derive(Debug, Clone)]
pub(crate) struct Parameters<'a> {
    path: String,
    all: &'a RefCell<Registry>,
}

/// What has been asked for so far, and the weights that answer.
#[derive(Debug)]
pub(crate) struct Registry {
    /// None while the parameters are only being listed.
    weights: Option<BTreeMap<String, Tensor>>,
    specs: BTreeMap<String, ParameterSpec>,
    problems: Vec<String>,
}

impl Registry {
    pub(crate) fn new(weights: Option<BTreeMap<String, Tensor>>) -> RefCell<Self> {
        RefCell::new(Self { weights, specs: BTreeMap::new(), problems: Vec::new() })
    }

    /// Every parameter that was asked for.
    ///
    /// # Errors
    /// When a weight was missing or had another shape, or one was given that nobody asked for: all of them at once.
    pub(crate) fn finish(mut self) -> std::result::Result<BTreeMap<String, ParameterSpec>, UnetError> {
        for name in self.weights.iter().flat_map(BTreeMap::keys) {
            if !self.specs.contains_key(name) {
                self.problems.push(format!("{name}: not a parameter of this network"));
            }
        }
        if self.problems.is_empty() { Ok(self.specs) } else { Err(UnetError::Weights(self.problems)) }
    }
}

impl<'a> Parameters<'a> {
    /// The root of the tree.
    pub(crate) fn root(all: &'a RefCell<Registry>) -> Self {
        Self { path: String::new(), all }
    }

    /// The place of a submodule.
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        Self { path, all: self.all }
    }

    /// The parameter of that name here. Where there is no fitting weight the tensor is a placeholder, and
    /// [`Registry::finish`] fails unless the parameters are only being listed.
    pub(crate) fn get(&self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let name = self.at(name).path;
        let mut all = self.all.borrow_mut();
        all.specs.insert(name.clone(), ParameterSpec { shape: shape.to_vec(), init });
        if let Some(weights) = &all.weights {
            let problem = match weights.get(&name) {
                Some(weight) if weight.dims() == shape => return Ok(weight.clone()),
                Some(weight) => format!("{name}: expected shape {shape:?}, found {:?}", weight.dims()),
                None => format!("{name}: missing, expected shape {shape:?}"),
            };
            all.problems.push(problem);
        }
        // One zero seen as the whole shape: listing the parameters of a large network takes no memory.
        Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu)?.broadcast_as(Shape::from(shape))
    }
}
