//! The path of the images in the configuration that a run saves.

use std::path::PathBuf;

use crate::hub;
use crate::run_config::RunConfig;

/// Whether `data.path` names a dataset instead of a path.
pub(crate) fn names_no_path(data: &str) -> bool {
    data == "digits" || hub::is_dataset(data)
}

/// The configuration with an absolute path of its images, so that the run continues from any working directory.
pub(crate) fn with_absolute_path(config: &RunConfig) -> anyhow::Result<RunConfig> {
    let mut config = config.clone();
    for path in std::iter::once(&mut config.data.path).chain(&mut config.data.holdout) {
        if names_no_path(path) {
            continue;
        }
        // The components leave out `.` and slashes at the end.
        let absolute: PathBuf = std::path::absolute(&*path)?.components().collect();
        if let Some(absolute) = absolute.to_str() {
            *path = absolute.to_string();
        }
    }
    Ok(config)
}
