//! The Python objects that a file may refer to.

use crate::pth::element_type::ElementType;
use crate::pth::problem::Problem;

/// An object that describes tensors or contains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`: (storage, offset, shape, strides, …).
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`: (tensor, requires_grad, hooks).
    RebuildParameter,
    /// `torch.Size`: (shape,).
    Size,
    /// A class of storages.
    Storage(ElementType),
}

impl Global {
    /// The object of this module and name.
    ///
    /// # Errors
    /// [`Problem::Refused`] for every other object.
    pub(crate) fn find(module: &str, name: &str) -> Result<Self, Problem> {
        let found = match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", "Size") => Some(Self::Size),
            ("torch" | "torch.storage", class) => ElementType::of_storage(class).map(Self::Storage),
            _ => None,
        };
        found.ok_or_else(|| Problem::Refused(shortened(&format!("{module}.{name}"))))
    }
}

/// A name out of a file, safe to print on one line.
pub(crate) fn shortened(name: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut short: String = name.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().nth(MAX_CHARS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_refused_by_name() {
        for (module, name) in [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("torch._utils", "os.system")]
        {
            let Err(Problem::Refused(refused)) = Global::find(module, name) else { panic!("{module}.{name}") };
            assert_eq!(refused, format!("{module}.{name}"));
        }
        assert!(matches!(Global::find("torch", "HalfStorage"), Ok(Global::Storage(ElementType::F16))));
    }
}
