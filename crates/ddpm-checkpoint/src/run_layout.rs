//! The names of the files and directories of a run.

/// The directory of the checkpoints.
pub(crate) const CHECKPOINTS_NAME: &str = "checkpoints";
/// The checkpoint with the lowest held-out loss, among the checkpoints.
pub(crate) const BEST_NAME: &str = "best";
/// The directory of the averages of the weights for post-hoc EMA.
pub(crate) const AVERAGES_NAME: &str = "averages";
/// The resolved configuration of the run.
pub(crate) const CONFIG_NAME: &str = "config.toml";
/// The metrics, one JSON object per line.
pub(crate) const METRICS_NAME: &str = "metrics.jsonl";
/// The directory of the sampled images.
pub(crate) const SAMPLES_NAME: &str = "samples";
/// The lock file of the process that holds the run.
pub(crate) const LOCK_NAME: &str = ".lock";
