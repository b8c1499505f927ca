//! Compares the configuration of a run with the one that its directory holds.

use std::collections::BTreeSet;

use anyhow::Context;
use ddpm_checkpoint::RunDir;
use ddpm_trainer::LearningRateSchedule;
use toml::{Table, Value};

use crate::config_document::read_document;
use crate::run_config::RunConfig;

/// Keys that may change when a run is continued, besides the table `[sample]`: they do not change the result of a
/// training step. The length of the run changes the learning rate only; [`warn_of_changed_length`] reports that.
const CHANGEABLE_KEYS: [&str; 8] = [
    "train.steps",
    "train.epochs",
    "train.checkpoint_every_steps",
    "train.keep_last_checkpoints",
    "train.keep_every_steps",
    "train.sample_every_steps",
    "train.log_every_steps",
    "train.max_skipped_steps",
];

/// The keys whose saved value differs from `config`, each with both values, except for those that may change.
pub(crate) fn differing_keys(run: &RunDir, config: &RunConfig) -> anyhow::Result<Vec<String>> {
    if !run.config_path().is_file() {
        return Ok(Vec::new());
    }
    let saved = read_document(&run.config_path())?;
    // Keys that did not exist when the run was started get their default values.
    let saved = match RunConfig::from_document(saved.clone()).and_then(|saved| saved.to_toml()) {
        Ok(text) => text.parse().unwrap_or(saved),
        Err(_) => saved,
    };
    let mut differing = Vec::new();
    for (table, now) in &document(config)? {
        let saved = saved.get(table);
        let keys = now.as_table().into_iter().flat_map(Table::keys);
        let saved_keys = saved.and_then(Value::as_table).into_iter().flat_map(Table::keys);
        for key in keys.chain(saved_keys).collect::<BTreeSet<&String>>() {
            let name = format!("{table}.{key}");
            let (saved, now) = (saved.and_then(|table| table.get(key)), now.get(key));
            if saved != now && !CHANGEABLE_KEYS.contains(&name.as_str()) && table != "sample" {
                let show = |value: Option<&Value>| value.map_or("nothing".into(), ToString::to_string);
                differing.push(format!("{name} (was {}, is {})", show(saved), show(now)));
            }
        }
    }
    Ok(differing)
}

/// Warns if the length of a continued run has changed and its learning rate depends on the length.
pub(crate) fn warn_of_changed_length(run: &RunDir, config: &RunConfig) -> anyhow::Result<()> {
    if config.train.learning_rate_schedule == LearningRateSchedule::Constant || !run.config_path().is_file() {
        return Ok(());
    }
    let length = |document: &Table| {
        let train = document.get("train").and_then(Value::as_table);
        let value = |key: &str| Some(format!("{} {key}", train?.get(key)?));
        value("steps").or(value("epochs"))
    };
    let saved = read_document(&run.config_path())?;
    if let (Some(was), Some(is)) = (length(&saved), length(&document(config)?))
        && was != is
    {
        tracing::warn!(
            "the run had {was} and now has {is}: from here on its learning rate follows the new length, so its result \
             differs from that of a run that had {is} from the beginning (with train.learning_rate_schedule = constant \
             it would not)"
        );
    }
    Ok(())
}

fn document(config: &RunConfig) -> anyhow::Result<Table> {
    config.to_toml()?.parse().context("the configuration cannot be read back")
}
