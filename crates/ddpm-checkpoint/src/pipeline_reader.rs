//! Directories as the Python library diffusers writes them: a pipeline, or its UNet alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ddpm_unet::UNet2dConfig;
use serde_json::{Map, Value};

use crate::description::ModelDescription;
use crate::error::{CheckpointError, Result};
use crate::fields::Fields;
use crate::model_file::Model;
use crate::plain_name::check_plain_name;
use crate::scheduler_reader::{Scheduler, scheduler};
use crate::tensor_file::{Tensors, read_tensors};

pub(crate) const INDEX_NAME: &str = "model_index.json";
pub(crate) const UNET_NAME: &str = "unet";
pub(crate) const SCHEDULER_NAME: &str = "scheduler";
pub(crate) const CONFIG_NAME: &str = "config.json";
pub(crate) const SCHEDULER_CONFIG_NAME: &str = "scheduler_config.json";
pub(crate) const WEIGHTS_NAME: &str = "diffusion_pytorch_model.safetensors";
const SHARDS_NAME: &str = "diffusion_pytorch_model.safetensors.index.json";
const PICKLE_NAME: &str = "diffusion_pytorch_model.bin";

/// Whether diffusers wrote that directory.
pub(crate) fn is_diffusers(directory: &Path) -> bool {
    let unet_alone = directory.join(CONFIG_NAME).is_file()
        && [WEIGHTS_NAME, SHARDS_NAME, PICKLE_NAME].iter().any(|name| directory.join(name).exists());
    directory.join(INDEX_NAME).is_file() || unet_alone
}

/// Loads the UNet of a pipeline, with the schedule and the sampler that its scheduler stands for; of a UNet alone those of Ho
/// et al. 2020.
///
/// # Errors
/// [`CheckpointError::WrongField`] naming the file, the field and the value that is not supported, and those of
/// [`read_tensors`].
pub(crate) fn load_diffusers(directory: &Path) -> Result<Model> {
    // The first pipelines have all their parts in one directory, and diffusers reads them still.
    let part = |name: &str| Some(directory.join(name)).filter(|part| part.is_dir());
    let unet = part(UNET_NAME).filter(|_| directory.join(INDEX_NAME).is_file()).unwrap_or_else(|| directory.to_owned());
    let network = network(&unet.join(CONFIG_NAME))?;
    let path = part(SCHEDULER_NAME).unwrap_or_else(|| directory.to_owned()).join(SCHEDULER_CONFIG_NAME);
    let scheduler_fields = if path.is_file() { Fields::read(&path)? } else { Fields::none(&path) };
    let Scheduler { diffusion, prediction, sampler } = scheduler(&scheduler_fields)?;
    let (path, tensors) = weights(&unet)?;
    let (channels, size) = (network.in_channels, network.sample_size);
    let mut kind = serde_json::to_value(&network).unwrap_or_default();
    kind["kind"] = "unet2d".into();
    let size = [size.height, size.width];
    let description = ModelDescription::new(&kind, &diffusion, prediction, &sampler, channels, size, 0)?;
    Ok(Model { description, tensors: renamed(tensors), path })
}

/// The configuration of a `UNet2DModel`.
fn network(path: &Path) -> Result<UNet2dConfig> {
    let document = Fields::read(path)?;
    document.choice("_class_name", "UNet2DModel", &[("UNet2DModel", ())])?;
    // What begins so is about the file, not about the network.
    let mut fields: Map<String, Value> = document
        .fields
        .iter()
        .filter(|(name, _)| !name.starts_with('_'))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    // diffusers' own default, where the file does not even say null.
    fields.entry("attention_head_dim").or_insert_with(|| 8.into());
    if fields.get("sample_size").is_none_or(Value::is_null) {
        return document.wrong("sample_size", "a number of pixels or [height, width]");
    }
    let read = |fields: &Map<String, Value>| serde_json::from_value::<UNet2dConfig>(Value::Object(fields.clone()));
    let config = read(&fields).map_err(|error| {
        // The one without which the others are read is the one that is wrong.
        let without = |name: &&String| {
            let mut others = fields.clone();
            others.remove(*name);
            read(&others).is_ok()
        };
        let at = fields.keys().find(without).map_or(String::new(), |name| format!("{name}: "));
        CheckpointError::WrongField { path: path.to_owned(), field: "network", problem: format!("{at}{error}") }
    })?;
    let channels = config.in_channels;
    // What says x_0, ε or v of a picture has as many channels, or twice as many with a learnt variance beside it.
    if ![channels, 2 * channels].contains(&config.out_channels) {
        return document
            .wrong("out_channels", &format!("{channels} as in_channels, or twice that with a learnt variance"));
    }
    Ok(config)
}

/// The weights in `unet`, and the file that they are in, or that lists them.
fn weights(unet: &Path) -> Result<(PathBuf, Tensors)> {
    let [whole, shards, pickle] = [WEIGHTS_NAME, SHARDS_NAME, PICKLE_NAME].map(|name| unet.join(name));
    if whole.is_file() {
        return Ok((whole.clone(), read_tensors(&whole)?));
    }
    if shards.is_file() {
        let index = Fields::read(&shards)?;
        let Some(Value::Object(map)) = index.get("weight_map") else {
            return index.wrong("weight_map", "the file of each tensor");
        };
        let mut files = BTreeMap::new();
        for file in map.values() {
            let Some(file) = file.as_str() else { return index.wrong("weight_map", "names of files") };
            files.insert(check_plain_name(file, &shards)?, ());
        }
        let mut tensors = Tensors::new();
        for file in files.keys() {
            tensors.extend(read_tensors(unet.join(file))?);
        }
        return Ok((shards, tensors));
    }
    if pickle.is_file() {
        return Ok((pickle.clone(), read_pickle(&pickle)?));
    }
    Err(CheckpointError::NotFound { path: whole })
}

/// The tensors of a file of `torch.save`. Nothing in it is executed: candle's reader knows the few instructions that tensors
/// need, and refuses others.
fn read_pickle(path: &Path) -> Result<Tensors> {
    let tensor_error = |source| CheckpointError::Tensor {
        path: path.to_owned(),
        tensor: "its tensors".to_owned(),
        source: Box::new(source),
    };
    let tensors = candle_core::pickle::read_all(path).map_err(tensor_error)?;
    tensors
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.to_dtype(candle_core::DType::F32).map_err(tensor_error)?)))
        .collect()
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
