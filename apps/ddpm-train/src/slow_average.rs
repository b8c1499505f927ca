//! Warnings about an EMA that follows the weights too slowly for the length of the run.

use ddpm_ema::initial_weight_share;
use ddpm_trainer::TrainConfig;
use tracing::{info, warn};

/// The share of the initial weights from which they are visible in images.
const MAX_SHARE: f64 = 0.01;

/// The share of the initial weights in the EMA after `step` steps, if it matters.
fn share(train: &TrainConfig, step: u64) -> Option<f64> {
    let share = initial_weight_share(step, train.ema_decay.first(), train.ema_warmup);
    (share > MAX_SHARE).then_some(share)
}

/// Warns if the EMA, which is what is sampled and exported, will contain a part of the initial weights at the end of a
/// run of `total_steps` steps.
pub(crate) fn warn_of_slow_average(train: &TrainConfig, total_steps: u64) {
    let Some(share) = share(train, total_steps) else { return };
    // The decay with which the share is MAX_SHARE at the end, rounded down to three digits.
    let largest = (MAX_SHARE.powf(1.0 / total_steps.max(1) as f64) * 1000.0).floor() / 1000.0;
    warn!(
        "train.ema_decay = {}: after {total_steps} steps, {:.0} % of the averaged weights, which are sampled and \
         exported, will still be the initial ones; set train.ema_warmup = true, or train.ema_decay to at most \
         {largest}",
        train.ema_decay.first(),
        100.0 * share
    );
}

/// Logs what share of the weights of a preview after `step` steps are initial ones, if it matters.
pub(crate) fn log_initial_share(train: &TrainConfig, step: u64) {
    if let Some(share) = share(train, step) {
        info!("preview of step {step}: {:.0} % of the averaged weights are the initial ones", 100.0 * share);
    }
}
