//! Names of attention weights in older versions of diffusers.

use candle_core::Tensor;
use ddpm_checkpoint::Tensors;

/// The names of the four projections: the old one and the present one.
const RENAMED: [(&str, &str); 4] = [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// Renames and reshapes the weights of attention layers to their present form. Other tensors are unchanged.
///
/// Older versions stored the projections as 1×1 convolutions, [rows, columns, 1, 1], which are matrices now.
pub(crate) fn with_present_names(tensors: Tensors) -> Tensors {
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let tensor = as_matrix(&name, tensor);
            (present_name(&name).unwrap_or(name), tensor)
        })
        .collect()
}

fn present_name(name: &str) -> Option<String> {
    let (module, parameter) = name.rsplit_once('.')?;
    let (block, layer) = module.rsplit_once('.')?;
    let (_, present) = RENAMED.iter().find(|(old, _)| *old == layer && block.contains("attentions."))?;
    Some(format!("{block}.{present}.{parameter}"))
}

fn as_matrix(name: &str, tensor: Tensor) -> Tensor {
    match *tensor.dims() {
        [rows, columns, 1, 1] if name.contains("attentions.") => tensor.reshape((rows, columns)).unwrap_or(tensor),
        _ => tensor,
    }
}
