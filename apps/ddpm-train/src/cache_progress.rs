//! Shows how the cache of resized images fills during the first epoch of a session.

use std::sync::Arc;

use ddpm_cli::{Progress, grouped, pluralize};
use ddpm_data::ImageCache;
use indicatif::ProgressBar;
use tracing::info;

/// The cache of a session in its first epoch.
pub(crate) struct CacheProgress {
    cache: Arc<ImageCache>,
    images: usize,
    at_start: usize,
    /// The step after which every image has been visited once.
    last_step: u64,
    bar: Option<ProgressBar>,
    progress: Progress,
}

impl CacheProgress {
    /// Follows the cache of `images` images, an epoch of which ends with step `last_step` of the run.
    pub(crate) fn new(cache: Arc<ImageCache>, images: usize, last_step: u64, progress: &Progress) -> Self {
        let at_start = cache.len_at_start();
        if at_start > 0 {
            let images = pluralize(images, "image");
            info!("{} of {images} are read resized from {}", grouped(at_start), cache.path().display());
        }
        Self { cache, images, at_start, last_step, bar: None, progress: progress.clone() }
    }

    /// Shows the state after a step. Returns false when there is nothing more to show.
    pub(crate) fn update(&mut self, step: u64) -> bool {
        let cached = self.cache.len();
        if cached > self.at_start && cached < self.images && step < self.last_step {
            let (start, images) = (self.at_start as u64, self.images as u64);
            let bar = self.bar.get_or_insert_with(|| self.progress.bar(start, images, "images resized for the cache"));
            bar.set_position(cached as u64);
            return true;
        }
        if cached < self.images && step < self.last_step {
            return true;
        }
        self.finish();
        false
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            self.progress.bars().remove(&bar);
        }
        let cached = self.cache.len();
        if cached > self.at_start {
            let (images, path) = (pluralize(self.images, "image"), self.cache.path().display());
            let cached = grouped(cached);
            info!("{cached} of {images} are kept resized in {path}: later epochs and runs read them from there");
        }
    }
}
