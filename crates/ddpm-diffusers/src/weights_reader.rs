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
    let Some(name) = WEIGHTS_NAMES.into_iter().find(|name| unet.join(name).is_file()) else {
        return Err(DiffusersError::NoWeights { path: unet.to_owned(), found: unsupported_weights(unet)? });
    };
    let path = unet.join(name);
    let tensors = if name.ends_with(".json") { read_shards(&path)? } else { read_file(&path)? };
    Ok((path, with_present_names(tensors)))
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
