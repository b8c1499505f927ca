//! The preview images of a run.

use std::path::{Path, PathBuf};

use ddpm_checkpoint::RunDir;
use ddpm_trainer::Preview;

use crate::run_config::RunConfig;

/// The file of the preview grid of `step` in the directory `samples` of a run.
pub(crate) fn grid_path(samples: &Path, step: u64) -> PathBuf {
    samples.join(format!("step-{step:06}.png"))
}

/// The number of images, the sampler and the seed of the previews of a run.
pub(crate) fn preview(config: &RunConfig) -> Preview {
    let size = config.model.image_size();
    Preview {
        images: config.sample.preview_images,
        image_shape: [config.model.channels(), size.height, size.width],
        sampler: config.sample.preview_sampler(),
        seed: config.train.seed,
    }
}

/// Whether the preview of `step` is due but does not exist: a signal stopped the run between the step and its preview.
pub(crate) fn preview_is_missing(config: &RunConfig, run: &RunDir, step: u64, total_steps: u64) -> bool {
    let every = config.train.sample_every_steps;
    let due = step == total_steps || (every > 0 && step > 0 && step.is_multiple_of(every));
    config.sample.preview_images > 0 && due && !grid_path(&run.samples_path(), step).exists()
}
