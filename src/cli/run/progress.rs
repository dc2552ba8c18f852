//! How far the one pipeline of a run is, on the terminal.

use std::sync::atomic::Ordering;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::pipeline::Progress;

/// A bar that does not know its end.
pub(super) fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    style(&bar, "{spinner} {human_pos} samples, {per_sec}, {msg}");
    bar
}

/// The source will give `total_samples`.
pub(super) fn expect(bar: &ProgressBar, total_samples: u64) {
    bar.set_length(total_samples);
    style(bar, "{wide_bar} {percent}% {human_pos} samples, {per_sec}, {msg}, {eta} left");
}

/// Draws how far the run is.
pub(super) fn draw(bar: &ProgressBar, progress: &Progress) {
    bar.set_position(progress.samples.load(Ordering::Relaxed));
    let bytes = progress.packet_bytes.load(Ordering::Relaxed);
    bar.set_message(format!("{} out", HumanBytes(bytes)));
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
