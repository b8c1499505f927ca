//! Progress bars with rate and remaining time.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// The progress bars of a program. They are drawn on standard error if it is a terminal and the program is not quiet.
#[derive(Debug, Clone)]
pub struct Progress(MultiProgress);

impl Progress {
    /// Progress bars that `quiet` hides.
    pub fn new(quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        Self(MultiProgress::with_draw_target(if visible {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        }))
    }

    /// The bars, for [`crate::Verbosity::start`].
    pub fn bars(&self) -> &MultiProgress {
        &self.0
    }

    /// Adds a bar that counts `unit` from `start` to `end`. The caller sets its message.
    pub fn bar(&self, start: u64, end: u64, unit: &str) -> ProgressBar {
        let template = format!("{{bar:16}} {{pos}}/{{len}} {unit}  {{rate}}  {{msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        // The rate of indicatif would include the steps before `start`, which an earlier session took.
        let style = style.with_key("rate", move |state: &ProgressState, out: &mut dyn Write| {
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
