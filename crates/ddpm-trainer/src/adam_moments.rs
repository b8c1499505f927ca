//! The two moments that Adam stores for every parameter.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};

use crate::error::TrainerError;
use crate::named_variables::{named_tensors, restore_variables};

const FIRST: &str = "adam.first.";
const SECOND: &str = "adam.second.";

/// The moments m and v of every parameter, as named variables of the parameter's shape, so that a checkpoint can store
/// them.
#[derive(Debug)]
pub(crate) struct AdamMoments {
    first: BTreeMap<String, Var>,
    second: BTreeMap<String, Var>,
}

impl AdamMoments {
    /// Moments of zero for the given parameters.
    ///
    /// # Errors
    /// When the device has too little memory.
    pub(crate) fn zeros(parameters: &BTreeMap<String, Var>) -> Result<Self> {
        let zeros = |(name, var): (&String, &Var)| Ok((name.clone(), Var::from_tensor(&var.zeros_like()?)?));
        let zeros = || parameters.iter().map(zeros).collect::<Result<_>>();
        Ok(Self { first: zeros()?, second: zeros()? })
    }

    /// The first and the second moment of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<(&Var, &Var)> {
        Some((self.first.get(name)?, self.second.get(name)?))
    }

    /// The moments as tensors named `adam.first.NAME` and `adam.second.NAME`.
    pub(crate) fn tensors(&self) -> BTreeMap<String, Tensor> {
        named_tensors(&self.first, FIRST).chain(named_tensors(&self.second, SECOND)).collect()
    }

    /// Copies the values of tensors that [`AdamMoments::tensors`] returned.
    ///
    /// # Errors
    /// [`TrainerError::State`] when a moment is missing or has another shape.
    pub(crate) fn restore(&self, saved: &BTreeMap<String, Tensor>) -> std::result::Result<(), TrainerError> {
        restore_variables(&self.first, FIRST, saved)?;
        restore_variables(&self.second, SECOND, saved)
    }
}
