//! Progress bars with rate and remaining time, quiet where nobody looks.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bars of one program. Draws on standard error where that is a terminal and the program is not told to be quiet,
/// and nowhere otherwise.
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
        let template = format!("{{bar:16}} {{pos}}/{{len}} {unit}  {{rate}}  {{msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // Of this bar's own steps alone: indicatif's rate takes those that a run has done before for the work of a
        // moment.
        let style = style.with_key("rate", move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let (done, seconds) = (state.pos().saturating_sub(start), state.elapsed().as_secs_f64());
            if done > 0 && seconds > 0.0 {
                let rate = done as f64 / seconds;
                let left = Duration::try_from_secs_f64(end.saturating_sub(state.pos()) as f64 / rate);
                let _ = write!(out, "{rate:.1}/s  {} left", HumanDuration(left.unwrap_or(Duration::MAX)));
            }
        });
        let bar = self.0.add(ProgressBar::new(end).with_position(start).with_style(style));
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }
}
