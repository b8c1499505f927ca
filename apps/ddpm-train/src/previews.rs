//! The preview images of a run.

use std::path::{Path, PathBuf};

use ddpm_checkpoint::RunDir;
use ddpm_trainer::Preview;

use crate::run_classes::RunClasses;
use crate::run_config::RunConfig;
use crate::sample_config::MAX_PREVIEW_IMAGES;

/// The file of the preview grid of `step` in the directory `samples` of a run.
pub(crate) fn grid_path(samples: &Path, step: u64) -> PathBuf {
    samples.join(format!("step-{step:06}.png"))
}

/// The file that compares the previews of the trained weights and of their average.
pub(crate) fn comparison_path(samples: &Path, step: u64) -> PathBuf {
    samples.join(format!("step-{step:06}-trained-and-average.png"))
}

/// The number of images, the sampler, the seed and the classes of the previews of a run.
pub(crate) fn preview(config: &RunConfig, classes: Option<&RunClasses>) -> Preview {
    let size = config.model.image_size();
    let labels = match classes {
        Some(classes) if config.sample.preview_images > 0 => {
            preview_labels(classes.labels().classes, config.sample.preview_images)
        }
        _ => Vec::new(),
    };
    Preview {
        images: if classes.is_some() { labels.len() } else { config.sample.preview_images },
        image_shape: [config.model.channels(), size.height, size.width],
        sampler: config.sample.preview_sampler(),
        seed: config.train.seed,
        labels,
    }
}

/// The class of each image of a preview: equally many of every class, class by class, at least one and together about
/// `images`.
fn preview_labels(classes: u32, images: usize) -> Vec<u32> {
    let of_class = (images / classes as usize).max(1);
    let all = (0..classes).flat_map(|class| std::iter::repeat_n(class, of_class));
    all.take(MAX_PREVIEW_IMAGES.max(of_class)).collect()
}

/// Whether the preview of `step` is due but does not exist: a signal stopped the run between the step and its preview.
pub(crate) fn preview_is_missing(config: &RunConfig, run: &RunDir, step: u64, total_steps: u64) -> bool {
    let every = config.train.sample_every_steps;
    let due = step == total_steps || (every > 0 && step > 0 && step.is_multiple_of(every));
    config.sample.preview_images > 0 && due && !grid_path(&run.samples_path(), step).exists()
}
