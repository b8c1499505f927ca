//! The tensors of a pickle by name.

use std::collections::BTreeMap;

use crate::pth::arena::{Arena, Id, StridedTensor, Value, check_length};
use crate::pth::problem::Problem;

/// The names under which programs keep the weights in a larger dictionary, the first that is present wins.
const KEYS: [&str; 5] = ["state_dict", "model_state_dict", "model", "teacher", "ema"];

/// The tensors of the dictionary `root`, or of the dictionary that it holds under one of [`KEYS`]. Other values are
/// left out.
///
/// # Errors
/// When there is no dictionary with tensors, or the name of a tensor is too long or has control characters.
pub(crate) fn state_dict(arena: &Arena, root: Id) -> Result<BTreeMap<String, StridedTensor>, Problem> {
    let Value::Dict(entries) = arena.get(root) else {
        return Problem::damaged(format!("expected a dictionary of tensors, found {}", arena.get(root).kind()));
    };
    let direct = tensors(arena, entries)?;
    if !direct.is_empty() {
        return Ok(direct);
    }
    for name in KEYS {
        let is_named = |entry: &&(Id, Id)| matches!(arena.get(entry.0), Value::Text(text) if text == name);
        let Some((_, value)) = entries.iter().find(is_named) else { continue };
        let Value::Dict(entries) = arena.get(*value) else { continue };
        let nested = tensors(arena, entries)?;
        if !nested.is_empty() {
            return Ok(nested);
        }
    }
    let expected = format!("expected tensors, or a dictionary of them under one of {}", KEYS.join(", "));
    Problem::damaged(format!("{expected}; found a dictionary of {} other values", entries.len()))
}

/// The tensors of a dictionary. Of several with the same name the last one counts, as in Python.
fn tensors(arena: &Arena, entries: &[(Id, Id)]) -> Result<BTreeMap<String, StridedTensor>, Problem> {
    let mut tensors = BTreeMap::new();
    // Not collected: that would hold all entries at once, and a million of them may share one name.
    for (key, value) in entries {
        if let (Value::Text(name), Value::Tensor(tensor)) = (arena.get(*key), arena.get(*value)) {
            check_length(name, "the name of a tensor")?;
            // It would break the lines of messages.
            if name.chars().any(char::is_control) {
                return Problem::damaged(format!("control characters in the name of the tensor `{name}`"));
            }
            tensors.insert(name.clone(), tensor.clone());
        }
    }
    Ok(tensors)
}
