//! Sets of named variables as the tensors of a checkpoint, and back.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::error::TrainerError;

/// The variables as tensors named `PREFIX` + name. They share their memory with the variables.
pub(crate) fn named_tensors<'a>(
    variables: &'a BTreeMap<String, Var>,
    prefix: &'a str,
) -> impl Iterator<Item = (String, Tensor)> + 'a {
    variables.iter().map(move |(name, variable)| (format!("{prefix}{name}"), variable.as_tensor().clone()))
}

/// Copies the values of the tensors named `PREFIX` + name into the variables.
///
/// # Errors
/// [`TrainerError::State`] when a tensor is missing or has another shape than its variable.
pub(crate) fn restore_variables(
    variables: &BTreeMap<String, Var>,
    prefix: &str,
    saved: &BTreeMap<String, Tensor>,
) -> Result<(), TrainerError> {
    for (name, variable) in variables {
        let key = format!("{prefix}{name}");
        let tensor = saved.get(&key).ok_or_else(|| TrainerError::State(format!("{key} is missing")))?;
        if tensor.dims() != variable.dims() {
            let message = format!("{key}: expected shape {:?}, found {:?}", variable.dims(), tensor.dims());
            return Err(TrainerError::State(message));
        }
        variable.set(&tensor.to_device(variable.device())?)?;
    }
    Ok(())
}
