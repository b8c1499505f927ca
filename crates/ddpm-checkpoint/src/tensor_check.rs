//! Comparison of the tensors of a file with those that a network expects.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{CheckpointError, Result};
use crate::tensor_file::Tensors;

/// Compares the names and shapes of tensors with the expected ones. `path` is the file of the tensors, for the error.
///
/// # Errors
/// [`CheckpointError::WrongTensors`] with every tensor that is missing, has another shape, or is not expected.
pub fn check_names(tensors: &Tensors, expected: &BTreeMap<String, Vec<usize>>, path: &Path) -> Result<()> {
    let mut differences = Vec::new();
    for (name, shape) in expected {
        match tensors.get(name) {
            None => differences.push(format!("`{name}` {shape:?} is missing")),
            Some(tensor) if tensor.dims() != shape.as_slice() => {
                differences.push(format!("`{name}` has the shape {:?}, expected {shape:?}", tensor.dims()));
            }
            Some(_) => {}
        }
    }
    for (name, tensor) in tensors.iter().filter(|(name, _)| !expected.contains_key(*name)) {
        differences.push(format!("`{name}` {:?} is not part of the network", tensor.dims()));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(CheckpointError::WrongTensors { path: path.to_owned(), differences })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    fn zeros(shapes: &[(&str, &[usize])]) -> Tensors {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("room");
        shapes.iter().map(|(name, shape)| ((*name).to_owned(), zeros(shape))).collect()
    }

    #[test]
    fn every_difference_is_listed() {
        let shapes = [("a", vec![2]), ("b", vec![2, 3]), ("c", vec![])];
        let expected = shapes.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect();
        let check = |found| check_names(&zeros(found), &expected, Path::new("m"));
        assert!(check(&[("a", &[2]), ("b", &[2, 3]), ("c", &[])]).is_ok());
        let error = check(&[("b", &[3, 2]), ("c", &[]), ("d", &[1])]).expect_err("three differences");
        let text = "m does not fit the network: `a` [2] is missing; `b` has the shape [3, 2], expected [2, 3]; \
                    `d` [1] is not part of the network";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_long_list_is_shortened_in_the_message() {
        let names: Vec<String> = (100..108).map(|i| format!("w{i}")).collect();
        let shapes: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[1][..])).collect();
        let error = check_names(&zeros(&shapes), &BTreeMap::new(), Path::new("m")).expect_err("8 differences");
        let text = error.to_string();
        assert!(text.contains("`w105`") && !text.contains("`w106`") && text.ends_with("; and 2 more"), "{text}");
        assert!(matches!(error, CheckpointError::WrongTensors { differences, .. } if differences.len() == 8));
    }
}
