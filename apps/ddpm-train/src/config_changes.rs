//! The keys of a run's configuration that a session changes: which may change, and how the run is told apart.

use std::collections::BTreeSet;

use anyhow::Context;
use ddpm_checkpoint::RunDir;
use ddpm_trainer::TrainConfig;
use toml::{Table, Value};

use crate::config_document::{read_document, with_implied_keys};
use crate::data_path::with_absolute_path;
use crate::run_config::RunConfig;

/// A key whose value in a session differs from the one that its run has saved.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConfigChange {
    /// `TABLE.KEY`
    pub(crate) key: String,
    /// `None` for a key that was left out.
    pub(crate) old: Option<Value>,
    /// `None` for a key that is left out.
    pub(crate) new: Option<Value>,
}

/// What a key of the configuration determines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyEffect {
    /// The steps that are already taken: the weights, the objective and the order of the data. It cannot change.
    Past,
    /// The result of the steps that follow.
    Result,
    /// How long the run is, where its data are and what it writes, but not the result of a step.
    None,
}

impl ConfigChange {
    pub(crate) fn effect(&self) -> KeyEffect {
        match self.key.as_str() {
            "model.dropout" => KeyEffect::Result,
            "train.seed" | "train.batch_size" | "data.labels" | "data.label_column" | "data.holdout_share" => {
                KeyEffect::Past
            }
            // The images themselves are compared by their fingerprint.
            "data.path" | "data.holdout" | "data.workers" | "data.max_bad_share" => KeyEffect::None,
            "data.cache" | "data.cache_gb" | "data.max_image_pixels" => KeyEffect::None,
            "train.steps"
            | "train.epochs"
            | "train.checkpoint_every_steps"
            | "train.keep_last_checkpoints"
            | "train.keep_every_steps"
            | "train.sample_every_steps"
            | "train.log_every_steps"
            | "train.power_ema_every_steps"
            | "train.validate_every_steps"
            | "train.stop_when_overfit"
            | "train.gradient_bucket_mb"
            | "train.max_skipped_steps" => KeyEffect::None,
            key if key.starts_with("model.") || key.starts_with("diffusion.") => KeyEffect::Past,
            key if key.starts_with("sample.") => KeyEffect::None,
            _ => KeyEffect::Result,
        }
    }
}

/// `train.seed (was 0, is 1)`
impl std::fmt::Display for ConfigChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or("left out".into(), ToString::to_string);
        write!(f, "{} (was {}, is {})", self.key, show(&self.old), show(&self.new))
    }
}

/// The keys whose value in `config` differs from the one that the run has saved. None if the run has no configuration.
pub(crate) fn config_changes(run: &RunDir, config: &RunConfig) -> anyhow::Result<Vec<ConfigChange>> {
    if !run.config_path().is_file() {
        return Ok(Vec::new());
    }
    let saved = read_document(&run.config_path())?;
    // Keys that did not exist when the run was started get their default values.
    let saved = with_implied_keys(saved);
    let saved = match RunConfig::from_document(saved.clone()).and_then(|saved| document(&saved)) {
        Ok(complete) => complete,
        Err(_) => saved,
    };
    let mut changes = Vec::new();
    for (table, now) in &document(&with_absolute_path(config)?)? {
        let saved = saved.get(table);
        let keys = now.as_table().into_iter().flat_map(Table::keys);
        let saved_keys = saved.and_then(Value::as_table).into_iter().flat_map(Table::keys);
        for key in keys.chain(saved_keys).collect::<BTreeSet<&String>>() {
            let (old, new) = (saved.and_then(|table| table.get(key)), now.get(key));
            if old != new {
                changes.push(ConfigChange { key: format!("{table}.{key}"), old: old.cloned(), new: new.cloned() });
            }
        }
    }
    Ok(changes)
}

/// Warns if a run has another length than before and its learning rate depends on the length. `step` is the next step,
/// `epoch_steps` the number of steps in an epoch.
pub(crate) fn warn_of_changed_length(
    run: &RunDir,
    train: &TrainConfig,
    step: u64,
    epoch_steps: u64,
) -> anyhow::Result<()> {
    let Ok(saved) = read_document(&run.config_path()).and_then(RunConfig::from_document) else { return Ok(()) };
    let rate = |train: &TrainConfig| {
        let factor = train.learning_rate_schedule.factor(step, train.warmup_steps, train.total_steps(epoch_steps));
        train.learning_rate * factor
    };
    let (old_steps, new_steps) = (saved.train.total_steps(epoch_steps), train.total_steps(epoch_steps));
    let (old_rate, new_rate) = (rate(&saved.train), rate(train));
    if old_steps != new_steps && old_rate != new_rate {
        tracing::warn!(
            "the run had {old_steps} steps and now has {new_steps}: its learning rate changes from {old_rate:.3e} to \
             {new_rate:.3e} at step {step}, so its result differs from that of a run that had {new_steps} from the \
             beginning (with train.learning_rate_schedule = constant it would not)"
        );
    }
    Ok(())
}

fn document(config: &RunConfig) -> anyhow::Result<Table> {
    config.to_toml()?.parse().context("the configuration cannot be read back")
}
