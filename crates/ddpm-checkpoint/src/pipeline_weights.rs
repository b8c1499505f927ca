//! The weights of a `UNet2DModel` as the Python library diffusers saves them: one file or shards of it, safetensors or pickles.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use serde_json::Value;

use crate::error::{CheckpointError, IoContext, Result};
use crate::fields::Fields;
use crate::plain_name::check_plain_name;
use crate::tensor_file::{Tensors, check_finite, read_tensors};

pub(crate) const WEIGHTS_NAME: &str = "diffusion_pytorch_model.safetensors";
const SHARDS_NAME: &str = "diffusion_pytorch_model.safetensors.index.json";
const PICKLE_NAME: &str = "diffusion_pytorch_model.bin";
const PICKLE_SHARDS_NAME: &str = "diffusion_pytorch_model.bin.index.json";
/// The files that weights may begin with, the preferred ones first.
pub(crate) const NAMES: [&str; 4] = [WEIGHTS_NAME, SHARDS_NAME, PICKLE_NAME, PICKLE_SHARDS_NAME];

/// The weights in the directory `unet`, and the file that they are in, or that lists them.
///
/// # Errors
/// [`CheckpointError::NoWeights`] naming what is there instead; those of [`read_tensors`]; [`CheckpointError::Damaged`] for a
/// pickle that is not read.
pub(crate) fn weights(unet: &Path) -> Result<(PathBuf, Tensors)> {
    let Some(name) = NAMES.into_iter().find(|name| unet.join(name).is_file()) else {
        return Err(CheckpointError::NoWeights { path: unet.to_owned(), found: other_weights(unet)? });
    };
    let path = unet.join(name);
    let tensors = if name.ends_with(".json") { read_shards(&path)? } else { read_file(&path)? };
    Ok((path, renamed(tensors)))
}

/// What looks like weights in the directory and is not read: a variant such as `diffusion_pytorch_model.fp16.safetensors`.
fn other_weights(unet: &Path) -> Result<String> {
    let is_weights =
        |name: &String| [".safetensors", ".bin", ".index.json", ".msgpack"].iter().any(|end| name.ends_with(end));
    let entries = fs::read_dir(unet).on("list", unet)?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().to_str().map(str::to_owned)).filter(is_weights);
    let names: BTreeSet<String> = names.collect();
    let first = names.into_iter().next();
    Ok(first.map_or("none".to_owned(), |name| format!("{name}, which is not read under this name")))
}

fn read_file(path: &Path) -> Result<Tensors> {
    if path.extension() == Some(OsStr::new("bin")) { read_pickle(path) } else { read_tensors(path) }
}

/// The tensors of every file that an index names, beside it.
fn read_shards(path: &Path) -> Result<Tensors> {
    let index = Fields::read(path)?;
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return index.wrong("weight_map", "the file of each tensor");
    };
    let mut files = BTreeSet::new();
    for file in map.values() {
        let Some(file) = file.as_str() else { return index.wrong("weight_map", "names of files") };
        files.insert(check_plain_name(file, path)?);
    }
    let mut tensors = Tensors::new();
    for file in files {
        tensors.extend(read_file(&path.with_file_name(file))?);
    }
    Ok(tensors)
}

/// The tensors of a file of `torch.save`. Nothing in it is executed: candle's reader knows the few instructions that tensors need,
/// and refuses others. A tensor of a type that it does not have it leaves out, with a line of its own on standard error that cannot
/// be turned off; the error that this tensor is missing comes after it.
fn read_pickle(path: &Path) -> Result<Tensors> {
    const ZIP: [u8; 4] = *b"PK\x03\x04";
    let mut begin = Vec::new();
    File::open(path).and_then(|file| file.take(ZIP.len() as u64).read_to_end(&mut begin)).on("read", path)?;
    if begin != ZIP {
        let problem = "expected a zip archive, as torch.save writes since PyTorch 1.6, found something else";
        return Err(CheckpointError::damaged(path, problem));
    }
    let damaged = |source: candle_core::Error| {
        // With a backtrace, where one is asked for, on the lines after the first.
        let reason = source.to_string().lines().next().unwrap_or_default().to_owned();
        CheckpointError::damaged(
            path,
            format!("expected the tensors of torch.save, found what cannot be read: {reason}"),
        )
    };
    let mut tensors = Tensors::new();
    for (name, tensor) in candle_core::pickle::read_all(path).map_err(damaged)? {
        let tensor = tensor.to_dtype(DType::F32).map_err(damaged)?;
        let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).map_err(damaged)?;
        check_finite(&values, 0, &name, path)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The names and shapes of today: attention had others once.
fn renamed(tensors: Tensors) -> Tensors {
    let parts = [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
    let new_name = |name: &str| {
        let (module, last) = name.rsplit_once('.')?;
        let (place, part) = module.rsplit_once('.')?;
        let (_, new) = parts.iter().find(|(old, _)| *old == part && place.contains("attentions."))?;
        Some(format!("{place}.{new}.{last}"))
    };
    let squeezed = |name: &str, tensor: Tensor| match *tensor.dims() {
        // As kernels of one tap, which are matrices now.
        [rows, columns, 1, 1] if name.contains("attentions.") => tensor.reshape((rows, columns)).unwrap_or(tensor),
        _ => tensor,
    };
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let tensor = squeezed(&name, tensor);
            (new_name(&name).unwrap_or(name), tensor)
        })
        .collect()
}
