//! Compares the images of a session with those that its checkpoint was trained on.

use std::path::Path;

use ddpm_cli::usage_error;
use ddpm_data::DataFingerprint;
use serde_json::Value;
use tracing::warn;

use crate::config_changes::ConfigChange;

/// The fingerprint as a checkpoint stores it.
pub(crate) fn stored(fingerprint: &DataFingerprint) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(fingerprint)?)
}

/// The fingerprint that a checkpoint of the state `state` has stored. `None` if it was written by a version that stored
/// none.
pub(crate) fn fingerprint_of(state: &Value) -> Option<DataFingerprint> {
    serde_json::from_value(state.get("data")?.clone()).ok()
}

/// Compares the images `present` at `path` with those that a checkpoint of the state `state` was trained on. Returns
/// the change if they differ and `accept_new_data` is set.
///
/// # Errors
/// When they differ and `accept_new_data` is not set.
pub(crate) fn check_data(
    state: &Value,
    present: &DataFingerprint,
    path: &str,
    run: &Path,
    accept_new_data: bool,
) -> anyhow::Result<Option<ConfigChange>> {
    let Some(trained) = fingerprint_of(state) else { return Ok(None) };
    if trained == *present {
        return Ok(None);
    }
    let difference = match trained.to_string() == present.to_string() {
        true => format!("{present} with other names or sizes"),
        false => format!("{present} instead of {trained}"),
    };
    if !accept_new_data {
        return Err(usage_error(format!(
            "{path}: expected the images that {} was trained on, found {difference}; --accept-new-data continues the \
             run with them, --data takes the path of the same images in another place",
            run.display()
        )));
    }
    warn!("the run continues with other images: {difference}");
    let value = |fingerprint: &DataFingerprint| Some(toml::Value::String(fingerprint.to_string()));
    Ok(Some(ConfigChange { key: "data".into(), old: value(&trained), new: value(present) }))
}
