//! Reading the weights of a `UNet2DModel`: one file or several shards, safetensors or files of `torch.save`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use ddpm_checkpoint::{Tensors, check_plain_name, read_tensors};
use serde_json::Value;

use crate::attention_names::with_present_names;
use crate::error::{DiffusersError, IoContext, Result};
use crate::json_document::JsonDocument;
use crate::layout::WEIGHTS_NAMES;
use crate::pickle::read_pickle;

/// Reads the weights in the directory of a UNet. Returns them with the file that holds them or, for shards, lists them.
///
/// # Errors
/// [`DiffusersError::NoWeights`] naming what the directory holds instead; the errors of [`read_tensors`] and
/// [`read_pickle`].
pub(crate) fn read_weights(unet: &Path) -> Result<(PathBuf, Tensors)> {
    let name = match WEIGHTS_NAMES.into_iter().find(|name| unet.join(name).is_file()) {
        Some(name) => name.to_owned(),
        None => variant(unet)?,
    };
    let path = unet.join(&name);
    let tensors = if name.ends_with(".json") { read_shards(&path)? } else { read_file(&path)? };
    Ok((path, with_present_names(tensors)))
}

/// The file of the only variant of the weights, such as `diffusion_pytorch_model.fp16.safetensors`, in a directory that
/// has no weights without a variant.
///
/// # Errors
/// [`DiffusersError::NoWeights`] if there is none, or more than one.
fn variant(unet: &Path) -> Result<String> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(unet).on("list", unet)?.flatten() {
        names.extend(entry.file_name().to_str().filter(|name| variant_of(name).is_some()).map(str::to_owned));
    }
    // Of one variant, safetensors are preferred to pickle.
    names.sort_by_key(|name| name.contains(".bin"));
    let variants: BTreeSet<&str> = names.iter().filter_map(|name| variant_of(name)).collect();
    match (names.first(), variants.len()) {
        (Some(name), 1) => {
            tracing::warn!("reading the variant {name} of the weights in {}: there are no others", unet.display());
            Ok(name.clone())
        }
        (Some(_), _) => {
            let found = format!("the variants {}", variants.into_iter().collect::<Vec<_>>().join(", "));
            Err(DiffusersError::NoWeights { path: unet.to_owned(), found })
        }
        (None, _) => Err(DiffusersError::NoWeights { path: unet.to_owned(), found: unsupported_weights(unet)? }),
    }
}

/// The variant in the name of a file that holds or lists all weights: `diffusion_pytorch_model.VARIANT.safetensors`,
/// `diffusion_pytorch_model.safetensors.index.VARIANT.json`.
fn variant_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("diffusion_pytorch_model.")?;
    let ends = |end: &str| rest.strip_suffix(end);
    let index = ["safetensors.index.", "bin.index."].into_iter().find_map(|start| rest.strip_prefix(start));
    let variant = match index {
        Some(index) => index.strip_suffix(".json"),
        None => ends(".safetensors").or_else(|| ends(".bin")),
    };
    // A shard is listed by an index.
    variant.filter(|variant| !variant.is_empty() && !variant.contains('.') && !variant.contains("-of-"))
}

/// Describes a file that looks like weights but has a name that is not read, such as
/// `diffusion_pytorch_model.fp16.safetensors`.
fn unsupported_weights(unet: &Path) -> Result<String> {
    let is_weights =
        |name: &String| [".safetensors", ".bin", ".index.json", ".msgpack"].iter().any(|end| name.ends_with(end));
    let entries = fs::read_dir(unet).on("list", unet)?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str().map(str::to_owned)).filter(is_weights);
    let first = names.min();
    Ok(first.map_or("none".to_owned(), |name| format!("{name}, which is not read under this name")))
}

fn read_file(path: &Path) -> Result<Tensors> {
    if path.extension() == Some(OsStr::new("bin")) { read_pickle(path) } else { Ok(read_tensors(path)?) }
}

/// Reads the tensors of every file that the index `path` lists. The files are in the directory of the index.
fn read_shards(path: &Path) -> Result<Tensors> {
    let index = JsonDocument::read(path)?;
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return Err(index.unexpected("weight_map", "the file of each tensor"));
    };
    let mut files = BTreeSet::new();
    for file in map.values() {
        let Some(file) = file.as_str() else { return Err(index.unexpected("weight_map", "names of files")) };
        files.insert(check_plain_name(file, path)?);
    }
    let mut tensors = Tensors::new();
    for file in files {
        tensors.extend(read_file(&path.with_file_name(file))?);
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::variant_of;

    #[test]
    fn variants_are_in_the_middle_of_a_name() {
        for (name, variant) in [
            ("diffusion_pytorch_model.fp16.safetensors", Some("fp16")),
            ("diffusion_pytorch_model.non_ema.bin", Some("non_ema")),
            ("diffusion_pytorch_model.safetensors.index.fp16.json", Some("fp16")),
            ("diffusion_pytorch_model.safetensors", None),
            ("diffusion_pytorch_model.safetensors.index.json", None),
            ("diffusion_pytorch_model.fp16-00001-of-00002.safetensors", None),
            ("model.fp16.safetensors", None),
        ] {
            assert_eq!(variant_of(name), variant, "{name}");
        }
    }
}
