//! The tensors of a pickle by name.

use std::collections::BTreeMap;

use crate::pth::arena::{Arena, Id, StridedTensor, Value};
use crate::pth::problem::Problem;

/// The names under which programs keep the weights in a larger dictionary, the first that is present wins.
const KEYS: [&str; 5] = ["state_dict", "model_state_dict", "model", "teacher", "ema"];

/// The tensors of the dictionary `root`, or of the dictionary that it holds under one of [`KEYS`]. Other values are
/// left out.
///
/// # Errors
/// When there is no dictionary with tensors.
pub(crate) fn state_dict(arena: &Arena, root: Id) -> Result<BTreeMap<String, StridedTensor>, Problem> {
    let Value::Dict(entries) = arena.get(root) else {
        return Problem::damaged(format!("expected a dictionary of tensors, found {}", arena.get(root).kind()));
    };
    let direct = tensors(arena, entries);
    if !direct.is_empty() {
        return check_names(direct);
    }
    let nested = |name: &&str| {
        let is_named = |entry: &&(Id, Id)| matches!(arena.get(entry.0), Value::Text(text) if text == name);
        match arena.get(entries.iter().find(is_named)?.1) {
            Value::Dict(entries) => Some(tensors(arena, entries)).filter(|tensors| !tensors.is_empty()),
            _ => None,
        }
    };
    KEYS.iter().find_map(nested).map(check_names).unwrap_or_else(|| {
        let expected = format!("expected tensors, or a dictionary of them under one of {}", KEYS.join(", "));
        Problem::damaged(format!("{expected}; found a dictionary of {} other values", entries.len()))
    })
}

/// Refuses names that would break the lines of messages.
fn check_names(tensors: BTreeMap<String, StridedTensor>) -> Result<BTreeMap<String, StridedTensor>, Problem> {
    match tensors.keys().find(|name| name.chars().any(char::is_control)) {
        Some(name) => Problem::damaged(format!("control characters in the name of the tensor `{name}`")),
        None => Ok(tensors),
    }
}

fn tensors(arena: &Arena, entries: &[(Id, Id)]) -> BTreeMap<String, StridedTensor> {
    let tensor = |(key, value): &(Id, Id)| match (arena.get(*key), arena.get(*value)) {
        (Value::Text(name), Value::Tensor(tensor)) => Some((name.clone(), tensor.clone())),
        _ => None,
    };
    entries.iter().filter_map(tensor).collect()
}
