//! How several processes share the batches of a step.

use ddpm_cli::{Job, pluralize, usage_error};
use ddpm_trainer::TrainConfig;
use tracing::info;

/// Checks that the ranks of `job` can share the batches of a step equally. With `scale`, each computes as many batches
/// as a step has had so far, and `config` is changed accordingly.
///
/// # Errors
/// When the number of ranks does not divide that of the batches.
pub(crate) fn share_batches(scale: bool, config: &mut TrainConfig, job: &Job) -> anyhow::Result<()> {
    let ranks = job.communicator().size();
    if scale && ranks > 1 {
        config.gradient_accumulation_steps *= ranks;
        config.validate().map_err(usage_error)?;
        let (images, rate) = (config.batch_size * config.gradient_accumulation_steps, config.learning_rate);
        let (linear, root) = (rate * ranks as f64, rate * (ranks as f64).sqrt());
        info!(
            "--scale-batch: a step takes {} instead of {}; --lr {linear:.3e} scales the learning rate linearly (Goyal \
             et al. 2017), --lr {root:.3e} by the square root, which suits Adam (Malladi et al. 2022); the run keeps \
             {rate:.3e}",
            pluralize(images, "image"),
            images / ranks
        );
    }
    ddpm_trainer::check_ranks(ranks, config.gradient_accumulation_steps).map_err(|error| {
        let hint = "; --scale-batch gives every process as many batches as one process has";
        usage_error(format!("{error}{}", if scale { "" } else { hint }))
    })
}
