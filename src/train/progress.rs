//! What a run shows while it goes: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::checkpoint::Point;
use super::log::Line;

/// Plain lines are at least this far apart, measurements aside.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// The display of a run.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    latent_width: usize,
    steps: u64,
    valid: Option<Point>,
    last_line: Instant,
}

impl Progress {
    /// A display for a run of `steps` that has done `done`.
    pub(super) fn new(steps: u64, done: u64, latent_width: usize, valid: Option<Point>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps).with_position(done);
            let style =
                ProgressStyle::with_template("{pos}/{len} [{bar:30}] {per_sec} {msg} | {eta_precise} left");
            if let Ok(style) = style {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.reset_eta();
            bar
        });
        Self { bar, latent_width, steps, valid, last_line: Instant::now() }
    }

    /// A step was done.
    pub(super) fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// A line was written to the log.
    pub(super) fn line(&mut self, line: &Line) {
        if let Some(prd_percent) = line.valid_prd_percent {
            self.valid = Some(Point { step: line.step, prd_percent });
        }
        let usage: Vec<String> = line
            .codes_used
            .iter()
            .map(|used| format!("{:.0} %", 100.0 * *used as f64 / self.latent_width as f64))
            .collect();
        let valid = match self.valid {
            Some(point) => format!("{:.2} % at {}", point.prd_percent, point.step),
            None => "not yet".to_owned(),
        };
        let message = format!("loss {:.4} | valid PRD {valid} | codes {}", line.loss, usage.join(" "));
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None => {
                if line.valid_prd_percent.is_none() && self.last_line.elapsed() < LINE_INTERVAL {
                    return;
                }
                self.last_line = Instant::now();
                let left = line.elapsed_seconds / line.step.max(1) as f64 * (self.steps - line.step) as f64;
                tracing::info!("step {}/{} | {message} | {left:.0} s left", line.step, self.steps);
            }
        }
    }

    /// Something else takes its time.
    pub(super) fn say(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None => tracing::info!("{what}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}
