//! Progress bars with rate and remaining time, quiet where nobody looks.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bars of one program. Draws on standard error where that is a terminal and the program is not told to be quiet, and
/// nowhere otherwise.
#[derive(Debug, Clone)]
pub struct Progress(MultiProgress);

impl Progress {
    /// Bars, drawn or not.
    pub fn new(quiet: bool) -> Self {
        let drawn = !quiet && std::io::stderr().is_terminal();
        Self(MultiProgress::with_draw_target(if drawn {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        }))
    }

    /// For [`crate::Verbosity::start`].
    pub fn bars(&self) -> &MultiProgress {
        &self.0
    }

    /// A bar from `start` to `end` of `unit`. Its message is up to the caller.
    pub fn bar(&self, start: u64, end: u64, unit: &str) -> ProgressBar {
        let template = format!("{{bar:24}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left  {{msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let style = style.with_key("per_sec", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{:.1}/s", state.per_sec());
        });
        let bar = self.0.add(ProgressBar::new(end).with_position(start).with_style(style));
        // The rate of a resumed run counts its own steps only.
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }
}
