//! Directories as the Python library diffusers writes them: a pipeline, or its UNet alone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use ddpm_unet::UNet2dConfig;
use serde_json::{Map, Value, json};

use crate::description::ModelDescription;
use crate::error::{CheckpointError, IoContext, Result};
use crate::model_file::Model;
use crate::plain_name::check_plain_name;
use crate::tensor_file::{Tensors, read_tensors};

pub(crate) const INDEX_NAME: &str = "model_index.json";
pub(crate) const UNET_NAME: &str = "unet";
pub(crate) const SCHEDULER_NAME: &str = "scheduler";
pub(crate) const CONFIG_NAME: &str = "config.json";
pub(crate) const SCHEDULER_CONFIG_NAME: &str = "scheduler_config.json";
pub(crate) const WEIGHTS_NAME: &str = "diffusion_pytorch_model.safetensors";
const SHARDS_NAME: &str = "diffusion_pytorch_model.safetensors.index.json";
const PICKLE_NAME: &str = "diffusion_pytorch_model.bin";

/// The largest JSON document that is read. A list of a million betas fits in.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// Steps that diffusers' DDIM and DPM-Solver pipelines take when nobody says otherwise.
const FEW_STEPS: u64 = 50;

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
    let scheduler = if path.is_file() { Fields::read(&path)? } else { Fields::none(&path) };
    let (diffusion, sampler) = (diffusion(&scheduler)?, sampler(&scheduler)?);
    let (path, tensors) = weights(&unet)?;
    let (channels, size) = (network.in_channels, network.sample_size);
    let mut kind = serde_json::to_value(&network).unwrap_or_default();
    kind["kind"] = "unet2d".into();
    let size = [size.height, size.width];
    let description = ModelDescription::new(&kind, &diffusion, &sampler, channels, size, 0)?;
    Ok(Model { description, tensors: renamed(tensors), path })
}

/// A document of named fields.
struct Fields {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl Fields {
    fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes));
        let bytes_read = read.on("read", path)? as u64;
        if bytes_read > MAX_JSON_BYTES {
            let (what, limit) = ("the document", MAX_JSON_BYTES);
            return Err(CheckpointError::TooLarge { path: path.to_owned(), what, bytes: bytes_read, limit });
        }
        let value =
            serde_json::from_slice(&bytes).map_err(|error| CheckpointError::damaged(path, error.to_string()))?;
        match value {
            Value::Object(fields) => Ok(Self { path: path.to_owned(), fields }),
            _ => Err(CheckpointError::damaged(path, "expected an object of JSON, found another value")),
        }
    }

    /// A document that is not there: every field has its default.
    fn none(path: &Path) -> Self {
        Self { path: path.to_owned(), fields: Map::new() }
    }

    /// A field's value, unless it is absent or null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn wrong<T>(&self, field: &'static str, expected: &str) -> Result<T> {
        let found = self.fields.get(field).map_or("nothing".to_owned(), Value::to_string);
        let problem = format!("expected {expected}, found {found}");
        Err(CheckpointError::WrongField { path: self.path.clone(), field, problem })
    }

    /// The value that `names` has for the field's text, or that of `default`.
    fn choice<T: Copy>(&self, field: &'static str, default: &str, names: &[(&str, T)]) -> Result<T> {
        let text = self.get(field).map_or(Some(default), Value::as_str);
        let found = names.iter().find(|(name, _)| text == Some(name));
        match found {
            Some((_, value)) => Ok(*value),
            None => {
                self.wrong(field, &format!("one of {}", names.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ")))
            }
        }
    }

    fn flag(&self, field: &'static str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.wrong(field, "true or false"),
        }
    }

    fn number(&self, field: &'static str, default: f64) -> Result<f64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_f64().map_or_else(|| self.wrong(field, "a number"), Ok),
        }
    }

    fn whole(&self, field: &'static str, default: u64) -> Result<u64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_u64().map_or_else(|| self.wrong(field, "a whole number"), Ok),
        }
    }
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
    if config.out_channels != config.in_channels {
        let expected = format!("{} as in_channels: a learnt variance is not supported", config.in_channels);
        return document.wrong("out_channels", &expected);
    }
    Ok(config)
}

/// The noise schedule of a scheduler, in the fields of `ddpm_schedule::ScheduleConfig`.
fn diffusion(scheduler: &Fields) -> Result<Value> {
    let mut fields = Map::new();
    fields.insert("timesteps".into(), scheduler.whole("num_train_timesteps", 1000)?.into());
    fields.insert("zero_terminal_snr".into(), scheduler.flag("rescale_betas_zero_snr", false)?.into());
    if let Some(betas) = scheduler.get("trained_betas") {
        fields.insert("beta_schedule".into(), "given".into());
        fields.insert("betas".into(), betas.clone());
        return Ok(Value::Object(fields));
    }
    let names = [
        ("linear", "linear"),
        ("scaled_linear", "scaled-linear"),
        ("squaredcos_cap_v2", "cosine"),
        ("sigmoid", "sigmoid"),
    ];
    let rule = scheduler.choice("beta_schedule", "linear", &names)?;
    fields.insert("beta_schedule".into(), rule.into());
    if rule != "cosine" {
        fields.insert("beta_start".into(), scheduler.number("beta_start", 1e-4)?.into());
        fields.insert("beta_end".into(), scheduler.number("beta_end", 0.02)?.into());
    }
    Ok(Value::Object(fields))
}

/// Options of one scheduler or another that are supported as they are by default.
const DEFAULT_FLAGS: [(&str, bool); 7] = [
    ("set_alpha_to_one", true),
    ("use_karras_sigmas", false),
    ("use_exponential_sigmas", false),
    ("use_beta_sigmas", false),
    ("use_lu_lambdas", false),
    ("use_flow_sigmas", false),
    ("euler_at_final", false),
];

/// What a scheduler does by default, in the fields of `ddpm_diffusion::SamplerConfig`.
fn sampler(scheduler: &Fields) -> Result<Value> {
    let classes = [("DDPMScheduler", "ddpm"), ("DDIMScheduler", "ddim"), ("DPMSolverMultistepScheduler", "dpm-solver")];
    let method = scheduler.choice("_class_name", "DDPMScheduler", &classes)?;
    scheduler.choice("prediction_type", "epsilon", &[("epsilon", ())])?;
    if scheduler.flag("thresholding", false)? {
        return scheduler.wrong("thresholding", "false: dynamic thresholds are not supported");
    }
    if scheduler.whole("steps_offset", 0)? != 0 {
        return scheduler.wrong("steps_offset", "0");
    }
    for (field, only) in [("solver_order", 2.0), ("lambda_min_clipped", f64::NEG_INFINITY)] {
        // JSON has no infinity: diffusers writes it as a word.
        let found =
            scheduler.get(field).filter(|value| value.as_str() != Some("-Infinity") && value.as_f64() != Some(only));
        if found.is_some() {
            return scheduler.wrong(field, "its default, the only one that is supported");
        }
    }
    scheduler.choice("algorithm_type", "dpmsolver++", &[("dpmsolver++", ())])?;
    scheduler.choice("solver_type", "midpoint", &[("midpoint", ())])?;
    scheduler.choice("final_sigmas_type", "zero", &[("zero", ())])?;
    for (field, only) in DEFAULT_FLAGS {
        if scheduler.flag(field, only)? != only {
            return scheduler.wrong(field, &format!("{only}, the only one that is supported"));
        }
    }
    // DPM-Solver has no such field, and does not clip.
    let clipped = scheduler.flag("clip_sample", method != "dpm-solver")?;
    if clipped && scheduler.number("clip_sample_range", 1.0)? != 1.0 {
        return scheduler.wrong("clip_sample_range", "1");
    }
    let variances = [
        ("fixed_small", "fixed-small"),
        ("fixed_small_log", "fixed-small"),
        ("fixed_large", "fixed-large"),
        ("fixed_large_log", "fixed-large"),
    ];
    // DPM-Solver has a field of that name for learnt variances, null or what the network was trained with.
    let variance =
        if method == "ddpm" { scheduler.choice("variance_type", "fixed_small", &variances)? } else { "fixed-small" };
    let spacings = [("leading", "leading"), ("trailing", "trailing"), ("linspace", "linspace")];
    let spacing =
        scheduler.choice("timestep_spacing", if method == "dpm-solver" { "linspace" } else { "leading" }, &spacings)?;
    let timesteps = scheduler.whole("num_train_timesteps", 1000)?;
    Ok(json!({
        "method": method,
        "mean": if clipped { "clipped-x0" } else { "epsilon" },
        "variance": variance,
        "steps": if method == "ddpm" { timesteps } else { timesteps.min(FEW_STEPS) },
        "spacing": spacing,
    }))
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
    fs::metadata(&whole).on("find the weights", &whole)?;
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
