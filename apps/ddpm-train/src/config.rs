//! The configuration of a run: one TOML document, resolved from preset, file and flags.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use anyhow::Context;
use ddpm_checkpoint::Model;
use ddpm_cli::usage;
use ddpm_data::DataConfig;
use ddpm_diffusion::SamplerConfig;
use ddpm_schedule::ScheduleConfig;
use ddpm_trainer::TrainConfig;
use ddpm_unet::{NetworkConfig, NoiseNetConfig, UNet2dConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::args::Args;
use crate::diffusion_config::DiffusionConfig;
use crate::presets;
use crate::sample_config::SampleConfig;

/// Everything a run depends on besides its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) model: NetworkConfig,
    pub(crate) diffusion: DiffusionConfig,
    pub(crate) data: DataConfig,
    pub(crate) train: TrainConfig,
    pub(crate) sample: SampleConfig,
}

/// The tables of the document, in the order they are written.
const TABLES: [&str; 5] = ["model", "diffusion", "data", "train", "sample"];

/// The keys of `[diffusion]` that belong to one rule or another.
const BETA_PARAMETERS: [&str; 5] = ["beta_start", "beta_end", "cosine_offset", "max_beta", "betas"];

impl RunConfig {
    /// The configuration that `args` ask for: the base, then `--config`, then flags and `--set`.
    ///
    /// The base is the preset; where none is named and `saved` holds the configuration of a run that is continued, it is
    /// that one. Of a new run that begins with `init` and names no preset, the network, the schedule and the sampler are that
    /// model's.
    pub(crate) fn resolve(args: &Args, saved: Option<&Table>, init: Option<&Model>) -> anyhow::Result<Self> {
        let over = overlay(args)?;
        let mut document = match (&args.preset, saved) {
            (None, Some(saved)) => {
                if let Some(name) = TABLES.into_iter().find(|name| !saved.contains_key(*name)) {
                    return Err(usage(format!(
                        "config.toml of the run that goes on: expected a table [{name}], found none; it is damaged"
                    )));
                }
                saved.clone()
            }
            (preset, _) => {
                let name = preset.as_deref().unwrap_or_else(|| default_preset(&over));
                let text = presets::document(name).with_context(|| format!("no preset is named {name}"))?;
                let mut document: Table = text.parse().with_context(|| format!("preset {name}"))?;
                if let (None, Some(init)) = (preset, init) {
                    // The network and the schedule that its weights were trained with.
                    document.insert(TABLES[0].into(), Value::try_from(init.network::<NetworkConfig>()?)?);
                    let diffusion =
                        DiffusionConfig { schedule: init.diffusion()?, prediction: init.description.prediction };
                    let timesteps = diffusion.schedule.timesteps;
                    document.insert(TABLES[1].into(), Value::try_from(diffusion)?);
                    take_sampler(&mut document, init.sampler()?, timesteps)?;
                }
                document
            }
        };
        merge(&mut document, over);
        let config = Self::from_document(document)?;
        config.validate()?;
        if let (Some(init), None) = (init, saved) {
            config.warn_of_other_diffusion(init)?;
        }
        for field in config.diffusion.schedule.unused_fields() {
            tracing::warn!(
                "diffusion.{field} has no effect: the rule that diffusion.beta_schedule names does not read it"
            );
        }
        Ok(config)
    }

    /// Reads the document of a resolved configuration.
    pub(crate) fn from_document(mut document: Table) -> anyhow::Result<Self> {
        let config = Self {
            model: model(&mut document)?,
            diffusion: table(&mut document, TABLES[1])?,
            data: table(&mut document, TABLES[2])?,
            train: table(&mut document, TABLES[3])?,
            sample: table(&mut document, TABLES[4])?,
        };
        match document.keys().next() {
            Some(key) => Err(usage(format!("{key}: no such table; the tables are {}", TABLES.join(", ")))),
            None => Ok(config),
        }
    }

    /// Weights mean something else where they are told of another prediction or other noise than they were trained with.
    fn warn_of_other_diffusion(&self, init: &Model) -> anyhow::Result<()> {
        let (own, trained) = (self.diffusion.prediction, init.description.prediction);
        if own != trained {
            tracing::warn!(
                "diffusion.prediction is {own:?}, and the model of --init was trained to predict {trained:?}: its network has to \
                 learn anew what it says; leave out --preset, or set diffusion.prediction"
            );
        }
        let trained: ScheduleConfig = init.diffusion()?;
        if self.diffusion.schedule.build().ok() != trained.build().ok() {
            tracing::warn!("[diffusion] is another schedule than the one that the model of --init was trained with");
        }
        Ok(())
    }

    /// Checks every table before anything is loaded.
    fn validate(&self) -> anyhow::Result<()> {
        self.model.validate().map_err(usage)?;
        let channels = self.model.channels();
        if let NetworkConfig::UNet2d(network) = &self.model {
            if network.out_channels != channels {
                let found = network.out_channels;
                return Err(usage(format!(
                    "model.out_channels: expected {channels} as model.in_channels, found {found}; a learnt variance can be \
                     sampled, not trained"
                )));
            }
            if network.num_class_embeds.is_some() || network.class_embed_type.is_some() {
                return Err(usage(
                    "model.num_class_embeds, model.class_embed_type: there are no classes to train with",
                ));
            }
        }
        if ![1, 3, 4].contains(&channels) {
            return Err(usage(format!("model.channels: pictures have 1, 3 or 4, found {channels}")));
        }
        let diffusion = self.diffusion.build().map_err(|error| usage(format!("diffusion: {error}")))?;
        self.data.validate().map_err(usage)?;
        self.train.validate().map_err(usage)?;
        self.check_batch()?;
        self.sample.validate(&diffusion).map_err(usage)
    }

    /// Whether the largest feature map of a batch can be held: an allocation that fails ends the process without a word.
    fn check_batch(&self) -> anyhow::Result<()> {
        // 16 GiB in f32.
        const MOST_VALUES: usize = 1 << 32;
        let (size, batch) = (self.model.image_size(), self.train.batch_size);
        // At least one picture: validate() of the model has bounded it.
        let most = MOST_VALUES / self.model.largest_map();
        if batch > most {
            return Err(usage(format!(
                "train.batch_size: expected at most {most} with this network at model.image_size = {size}, found {batch}"
            )));
        }
        Ok(())
    }

    /// The document: `from_document` reads it back.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(self).context("could not write the configuration as TOML")
    }
}

/// Puts a model's sampler in place of that of the document; its previews take no more steps than there are.
fn take_sampler(document: &mut Table, own: SamplerConfig, timesteps: usize) -> anyhow::Result<()> {
    let Some(Value::Table(sample)) = document.get_mut(TABLES[4]) else { return Ok(()) };
    if let Value::Table(own) = Value::try_from(own)? {
        sample.extend(own);
    }
    if let Some(Value::Integer(steps)) = sample.get_mut("preview_steps") {
        *steps = (*steps).min(i64::try_from(timesteps)?);
    }
    Ok(())
}

/// What `--config`, flags and `--set` say, in this order.
pub(crate) fn overlay(args: &Args) -> anyhow::Result<Table> {
    let mut over = match &args.config {
        Some(path) => read_overlay(path)?,
        None => Table::new(),
    };
    for (key, value) in flags(args)? {
        set(&mut over, &key, value)?;
    }
    Ok(over)
}

/// The preset to begin with where none is named.
pub(crate) fn default_preset(over: &Table) -> &'static str {
    presets::default_name(over.get("data").and_then(|data| data.get("path")).and_then(Value::as_str))
}

/// A document of some keys.
fn read_overlay(path: &Path) -> anyhow::Result<Table> {
    let over = read_document(path)?;
    let shown = path.display();
    if let Some((name, value)) = over.iter().find(|(_, value)| !value.is_table()) {
        return Err(usage(format!("{shown}: {name}: expected a table, found {}", value.type_str())));
    }
    let train = over.get("train").and_then(Value::as_table);
    if train.is_some_and(|train| train.contains_key("steps") && train.contains_key("epochs")) {
        return Err(usage(format!("{shown}: train: expected one of steps and epochs, found both")));
    }
    Ok(over)
}

/// A list of betas for a million steps fits in.
const MOST_BYTES: u64 = 32 << 20;

/// Reads a TOML document.
pub(crate) fn read_document(path: &Path) -> anyhow::Result<Table> {
    let mut text = String::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    let read = opened.map_err(|error| usage(format!("the configuration {}: {error}", path.display())))?;
    if read as u64 > MOST_BYTES {
        return Err(usage(format!("{}: expected at most {MOST_BYTES} bytes, found more", path.display())));
    }
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count();
        usage(format!("{}, line {line}: {}", path.display(), error.message()))
    })
}

/// Takes the network out of the document.
fn model(document: &mut Table) -> anyhow::Result<NetworkConfig> {
    let written = document.get(TABLES[0]).and_then(Value::as_table).cloned();
    table(document, TABLES[0]).map_err(|error| {
        // An error of a tagged enum does not say which key it is about, that of the variant's own type does.
        let Some(mut fields) = written else { return error };
        let kind = fields.remove("kind");
        let mut alone = Table::from_iter([(TABLES[0].to_string(), Value::Table(fields))]);
        let own = match kind.as_ref().and_then(Value::as_str) {
            Some("noise-net") => table::<NoiseNetConfig>(&mut alone, TABLES[0]).err(),
            Some("unet2d") => table::<UNet2dConfig>(&mut alone, TABLES[0]).err(),
            _ => None,
        };
        own.unwrap_or(error)
    })
}

/// Takes a table out of the document.
fn table<T: DeserializeOwned>(document: &mut Table, name: &str) -> anyhow::Result<T> {
    let value = document.remove(name).unwrap_or_else(|| Value::Table(Table::new()));
    value.clone().try_into().map_err(|error: toml::de::Error| {
        let message = error.to_string().trim().replace('\n', " ");
        // Of a table that is made of two, a wrong type does not say either which key has it.
        let named = value.as_table().into_iter().flatten().any(|(key, _)| message.contains(&format!("`{key}`")));
        if !named
            && let Some((key, found)) = wrong_key::<T>(name, &value).filter(|(key, _)| !message.contains(key.as_str()))
        {
            return usage(format!("{name}.{key}: {message}, found {found}"));
        }
        // A table that is made of two does not list its keys.
        let keys =
            if message.starts_with("unknown field") && !message.contains(", expected") { keys(name) } else { None };
        usage(format!("[{name}]: {message}{}", keys.map_or(String::new(), |keys| format!(", expected one of {keys}"))))
    })
}

/// The first key of a table whose value is not read, in a table where all others are.
fn wrong_key<T: DeserializeOwned>(name: &str, written: &Value) -> Option<(String, Value)> {
    let preset: Table = presets::document(default_preset(&Table::new()))?.parse().ok()?;
    let whole = preset.get(name)?.as_table()?;
    let is_wrong = |(key, value): &(&String, &Value)| {
        let mut table = whole.clone();
        table.insert((*key).clone(), (*value).clone());
        Value::Table(table).try_into::<T>().is_err()
    };
    written.as_table()?.iter().find(is_wrong).map(|(key, value)| (key.clone(), value.clone()))
}

/// The keys that a table may have, as those of a preset that is written out.
fn keys(name: &str) -> Option<String> {
    let preset: Table = presets::document(default_preset(&Table::new()))?.parse().ok()?;
    let written: Table = RunConfig::from_document(preset).ok()?.to_toml().ok()?.parse().ok()?;
    let rules = if name == TABLES[1] { &BETA_PARAMETERS[..] } else { &[] };
    let keys: BTreeSet<&str> =
        written.get(name)?.as_table()?.keys().map(String::as_str).chain(rules.iter().copied()).collect();
    Some(keys.into_iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
}

/// Puts the keys of `over` into `base`, table by table.
fn merge(base: &mut Table, over: Table) {
    for (name, value) in over {
        match (base.get_mut(&name), value) {
            (Some(Value::Table(base)), Value::Table(over)) => {
                let other =
                    |base: &Table, key| base.get(key).is_some_and(|own| over.get(key).is_some_and(|new| new != own));
                // Another kind of network or rule of β brings its own keys: those of the old one mean nothing to it.
                if other(base, "kind") {
                    base.clear();
                }
                if other(base, "beta_schedule") {
                    BETA_PARAMETERS.iter().for_each(|key| drop(base.remove(*key)));
                }
                over.into_iter().for_each(|(key, value)| put(base, key, value));
            }
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// Sets a key; of `steps` and `epochs` a document has one, the last that was said.
fn put(table: &mut Table, key: String, value: Value) {
    for (own, other) in [("steps", "epochs"), ("epochs", "steps")] {
        if key == own {
            table.remove(other);
        }
    }
    table.insert(key, value);
}

/// The keys that flags stand for, and those of `--set`.
fn flags(args: &Args) -> anyhow::Result<Vec<(String, Value)>> {
    let number = |key: &str, n: Option<u64>| -> anyhow::Result<Option<(String, Value)>> {
        let Some(n) = n else { return Ok(None) };
        let n = i64::try_from(n).map_err(|_| usage(format!("{key}: {n} is too large")))?;
        Ok(Some((key.to_string(), Value::Integer(n))))
    };
    let mut keys = Vec::new();
    keys.extend(args.data.clone().map(|path| ("data.path".to_string(), Value::String(path))));
    keys.extend(number("train.steps", args.steps)?);
    keys.extend(number("train.epochs", args.epochs)?);
    keys.extend(number("train.batch_size", args.batch_size)?);
    keys.extend(number("train.seed", args.seed)?);
    for set in &args.set {
        let (key, value) =
            set.split_once('=').ok_or_else(|| usage(format!("--set {set}: expected TABLE.KEY=VALUE")))?;
        keys.push((
            key.trim().to_string(),
            read_value(value.trim()).map_err(|error| usage(format!("{key}: {error}")))?,
        ));
    }
    Ok(keys)
}

/// A value as TOML has it; what is no TOML is a string, so that quotes are not needed.
fn read_value(text: &str) -> Result<Value, String> {
    let document = format!("value = {text}").parse::<Table>().ok();
    match document.and_then(|mut document| document.remove("value")) {
        Some(value) => Ok(value),
        None if text.parse::<i128>().is_ok_and(|number| i64::try_from(number).is_err()) => {
            Err(format!("expected a number of at most {}, found {text}", i64::MAX))
        }
        None => Ok(Value::String(text.to_string())),
    }
}

fn set(document: &mut Table, key: &str, value: Value) -> anyhow::Result<()> {
    let (table, field) = key
        .split_once('.')
        .filter(|(table, field)| TABLES.contains(table) && !field.is_empty() && !field.contains('.'))
        .ok_or_else(|| usage(format!("{key}: expected TABLE.KEY with a table of {}", TABLES.join(", "))))?;
    let mut over = Table::new();
    over.insert(table.to_string(), Value::Table(Table::from_iter([(field.to_string(), value)])));
    merge(document, over);
    Ok(())
}
