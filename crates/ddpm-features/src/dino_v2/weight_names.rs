//! The names of weights.

use candle_core::Tensor;
use ddpm_checkpoint::Tensors;

use crate::error::Result;

/// The parts of a block in transformers and in the code of Meta AI.
const PARTS: [(&str, &str); 4] = [
    ("attention.output.dense.", "attn.proj."),
    ("attention.o_proj.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
];
/// The tensors outside of blocks.
const OUTSIDE: [(&str, &str); 7] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.weight", "patch_embed.proj.weight"),
    ("embeddings.patch_embeddings.projection.bias", "patch_embed.proj.bias"),
    ("layernorm.weight", "norm.weight"),
    ("layernorm.bias", "norm.bias"),
];
/// The names of the three projections of attention: of transformers before version 5, and since.
const PROJECTIONS: [[&str; 3]; 2] = [
    ["attention.attention.query", "attention.attention.key", "attention.attention.value"],
    ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
];

/// The tensors under the names of Meta AI's code, whether they have these or those of transformers. There, queries,
/// keys and values are one tensor.
pub(crate) fn with_original_names(tensors: &Tensors) -> Result<Tensors> {
    let mut renamed = Tensors::new();
    for (name, tensor) in tensors {
        let name = name.strip_prefix("dinov2.").unwrap_or(name);
        renamed.insert(original_name(name), tensor.clone());
    }
    for names in PROJECTIONS {
        let prefixes: Vec<String> =
            renamed.keys().filter_map(|name| Some(name.split_once(names[0])?.0.to_owned())).collect();
        for prefix in prefixes {
            for part in ["weight", "bias"] {
                let parts = names.map(|name| format!("{prefix}{name}.{part}"));
                let [Some(query), Some(key), Some(value)] = parts.each_ref().map(|name| renamed.get(name)) else {
                    continue;
                };
                // Shapes that do not fit together are reported with the names of the file.
                if let Ok(joined) = Tensor::cat(&[query, key, value], 0) {
                    parts.iter().for_each(|name| drop(renamed.remove(name)));
                    renamed.insert(format!("{prefix}attn.qkv.{part}"), joined);
                }
            }
        }
    }
    Ok(renamed)
}

fn original_name(name: &str) -> String {
    if let Some((_, original)) = OUTSIDE.iter().find(|(theirs, _)| *theirs == name) {
        return (*original).to_owned();
    }
    let Some(block) = name.strip_prefix("encoder.layer.") else { return name.to_owned() };
    let part = PARTS.iter().find(|(theirs, _)| block.contains(theirs));
    let block = part.map_or(block.to_owned(), |(theirs, original)| block.replacen(theirs, original, 1));
    format!("blocks.{block}")
}

/// Whether a tensor is not needed to compute features: the token of masked patches.
pub(crate) fn is_ignored(name: &str) -> bool {
    name == "mask_token"
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn names_of_transformers_are_mapped() {
        let zeros = || Tensor::zeros((2, 2), DType::F32, &Device::Cpu).expect("room");
        for projections in PROJECTIONS {
            let names = projections.map(|name| format!("encoder.layer.0.{name}.weight"));
            let mut tensors: Tensors = names.into_iter().map(|name| (name, zeros())).collect();
            tensors.insert("encoder.layer.0.attention.output.dense.bias".to_owned(), zeros());
            tensors.insert("encoder.layer.0.layer_scale2.lambda1".to_owned(), zeros());
            tensors.insert("encoder.layer.0.mlp.fc1.bias".to_owned(), zeros());
            tensors.insert("layernorm.bias".to_owned(), zeros());
            let renamed = with_original_names(&tensors).expect("two dimensions");
            let expected = ["attn.proj.bias", "attn.qkv.weight", "ls2.gamma", "mlp.fc1.bias"];
            let expected = expected.map(|name| format!("blocks.0.{name}")).into_iter().chain(["norm.bias".to_owned()]);
            assert_eq!(renamed.keys().cloned().collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            assert_eq!(renamed["blocks.0.attn.qkv.weight"].dims(), [6, 2]);
        }
    }
}
