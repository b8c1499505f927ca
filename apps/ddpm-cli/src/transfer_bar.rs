//! The progress bar of a download from the Hub or of an upload.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ddpm_hub::TransferProgress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::progress::Progress;

/// A progress bar that counts bytes. Several threads may advance it.
#[derive(Debug)]
pub struct TransferBar {
    progress: Progress,
    bar: Mutex<Option<ProgressBar>>,
}

impl TransferBar {
    /// A bar that is added to those of `progress` when a transfer starts.
    pub fn new(progress: &Progress) -> Self {
        Self { progress: progress.clone(), bar: Mutex::default() }
    }
}

impl TransferProgress for TransferBar {
    fn begin(&self, what: &str, bytes: u64) {
        let template = "{bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = self.progress.bars().add(ProgressBar::new(bytes).with_style(style).with_message(what.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(500));
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}
