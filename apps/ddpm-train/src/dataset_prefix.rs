//! The prefixes by which `data.path` names a dataset instead of a path.

/// The prefix of the datasets of the Hugging Face Hub.
pub(crate) const HUB: &str = "hub:";

/// The prefix of the datasets that the crate candle-datasets knows by name.
pub(crate) const CANDLE: &str = "candle:";

/// The error of a program that cannot read the datasets of candle-datasets.
#[cfg(not(feature = "candle-datasets"))]
pub(crate) const NO_CANDLE_DATASETS: &str = "this program was built without the feature `candle-datasets`: build it \
    with `cargo build -p ddpm-train --features candle-datasets`";

/// Whether `path` has the form of the name of a dataset.
pub(crate) fn is_dataset_name(path: &str) -> bool {
    path.starts_with(HUB) || path.starts_with(CANDLE)
}
