//! How several processes share the batches of a step.

use ddpm_cli::{Job, pluralize, usage_error};
use ddpm_trainer::TrainConfig;
use toml::Table;
use tracing::info;

use crate::args::Args;
use crate::overrides::overrides;

/// Checks that the ranks of `job` can share the batches of a step equally. With `--scale-batch`, each computes as many
/// batches as a step of `config` has had so far, and `config` is changed accordingly.
///
/// A run that is continued with the configuration `saved` keeps its steps: its number of batches has been multiplied
/// when it began.
///
/// # Errors
/// When the number of ranks does not divide that of the batches.
pub(crate) fn share_batches(
    args: &Args,
    saved: Option<&Table>,
    config: &mut TrainConfig,
    job: &Job,
) -> anyhow::Result<()> {
    let ranks = job.communicator().size();
    let scales = args.scale_batch && !is_saved(args, saved)?;
    if scales && ranks > 1 {
        scale(config, ranks)?;
    }
    ddpm_trainer::check_ranks(ranks, config.gradient_accumulation_steps).map_err(|error| {
        let hint = match (scales, args.scale_batch) {
            (true, _) => "",
            (false, true) => "; the run that is continued has this number, --set changes it",
            (false, false) => "; --scale-batch gives every process as many batches as one process has",
        };
        usage_error(format!("{error}{hint}"))
    })
}

/// Whether the number of batches of a step is that of the run that is continued.
fn is_saved(args: &Args, saved: Option<&Table>) -> anyhow::Result<bool> {
    let overrides = overrides(args)?;
    let given = overrides.get("train").and_then(|train| train.get("gradient_accumulation_steps"));
    Ok(saved.is_some() && args.preset.is_none() && given.is_none())
}

/// Gives a step `ranks` times as many batches, and logs the learning rates that this implies.
fn scale(config: &mut TrainConfig, ranks: usize) -> anyhow::Result<()> {
    config.gradient_accumulation_steps *= ranks;
    config.validate().map_err(usage_error)?;
    let (images, rate) = (config.batch_size * config.gradient_accumulation_steps, config.learning_rate);
    let (linear, root) = (rate * ranks as f64, rate * (ranks as f64).sqrt());
    info!(
        "--scale-batch: a step takes {} instead of {}; --lr {linear:.3e} scales the learning rate linearly (Goyal et \
         al. 2017), --lr {root:.3e} by the square root, which suits Adam (Malladi et al. 2022); the run keeps \
         {rate:.3e}",
        pluralize(images, "image"),
        images / ranks
    );
    Ok(())
}
