//! The card of a trained model: where it comes from and how faithful it is.

use std::fmt::Write;

use super::checkpoint::Point;
use super::data::Dataset;
use super::recipe::Recipe;
use super::step::Trainer;
use crate::fidelity::Fidelity;
use crate::model::{ArchitectureError, ModelStats};

/// Rows of the table of measurements; longer runs show every so many.
const CURVE_ROWS: usize = 24;

/// All that a model directory tells of its run.
pub(super) struct Finished<'a> {
    /// What was trained.
    pub(super) recipe: &'a Recipe,
    /// The command line.
    pub(super) command: &'a str,
    /// What it was trained on.
    pub(super) dataset: &'a Dataset,
    /// The trainer, at the best model.
    pub(super) trainer: &'a Trainer,
    /// Steps done.
    pub(super) steps: u64,
    /// Where the best model stood.
    pub(super) best: Point,
    /// Every measurement on the validation recordings.
    pub(super) curve: &'a [Point],
    /// Time spent.
    pub(super) seconds: f64,
    /// Fidelity on the validation recordings.
    pub(super) valid: &'a Fidelity,
    /// Fidelity on the test recordings, where there are any.
    pub(super) test: Option<&'a Fidelity>,
}

/// The card as Markdown.
pub(super) fn card(run: &Finished<'_>) -> Result<String, ArchitectureError> {
    let recipe = run.recipe;
    let mut text = format!("# {}\n\n", recipe.name);
    if !recipe.summary.is_empty() {
        text += &format!("{}\n\n", recipe.summary);
    }
    text += &numbers(run)?;
    text += &fidelity(run);
    text += &training(run);
    text += &recordings(run);
    text += "\n## Recipe\n\n```toml\n";
    text += toml::to_string(recipe).unwrap_or_default().trim_end();
    text += "\n```\n";
    Ok(text)
}

fn numbers(run: &Finished<'_>) -> Result<String, ArchitectureError> {
    let recipe = run.recipe;
    let stats = ModelStats::new(&recipe.architecture, 16)?;
    let mut text = String::from("| | |\n|---|---|\n");
    let mut row = |key: &str, value: String| {
        let _ = writeln!(text, "| {key} | {value} |");
    };
    row(
        "frame",
        format!("{} samples, {} channel(s)", recipe.architecture.frame_size, recipe.architecture.in_ch),
    );
    row("sample rate", format!("{} Hz", recipe.sample_rate_hz));
    row(
        "codes",
        format!(
            "{} positions x {} levels of {} vectors",
            stats.compression.latent_positions,
            recipe.architecture.num_levels,
            recipe.architecture.latent_width
        ),
    );
    row("nominal compression of 16-bit samples", format!("{:.4}", stats.compression.compression_ratio));
    row("parameters", format!("{} encoder, {} decoder", stats.encoder.parameters, stats.decoder.parameters));
    row(
        "multiply-adds a frame",
        format!("{} encoder, {} decoder", stats.encoder.multiply_adds, stats.decoder.multiply_adds),
    );
    Ok(text)
}

fn fidelity(run: &Finished<'_>) -> String {
    let mut text = String::from("\n## Fidelity\n\n");
    text += "Decoded samples are rounded to whole counts where the recording has counts. `prd_percent` is 100 sqrt(sum (x - y)^2 / \
             sum (x - mean)^2) over a whole stream, averaged over streams; `frame_prd_percent` the same over a \
             frame with the frame's own mean.\n\n";
    text += "| recordings | prd_percent | frame_prd_percent mean | median | p90 | snr_db |\n|---|--:|--:|--:|--:|--:|\n";
    for (name, fidelity) in [("valid (chose the model)", Some(run.valid)), ("test", run.test)] {
        if let Some(fidelity) = fidelity {
            text += &fidelity_row(name, fidelity);
        }
    }
    if run.test.is_none() {
        text += "\nThe recipe names no test recordings.\n";
    }
    text
}

fn fidelity_row(name: &str, fidelity: &Fidelity) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let frames = fidelity.frame_prd_percent;
    format!(
        "| {name} | {} | {} | {} | {} | {} |\n",
        number(fidelity.prd_percent),
        number(frames.map(|frames| frames.mean)),
        number(frames.map(|frames| frames.median)),
        number(frames.map(|frames| frames.p90)),
        number(fidelity.snr_db),
    )
}

fn training(run: &Finished<'_>) -> String {
    let mut text = String::from("\n## Training\n\n");
    let _ = writeln!(
        text,
        "Made by `{}` in {:.0} s on {}. It did {} of {} steps of {} frames; the model is that of step {}, the best on \
         the validation recordings.\n",
        run.command,
        run.seconds,
        format_args!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
        run.steps,
        run.recipe.training.steps,
        run.recipe.training.batch_size,
        run.best.step,
    );
    text += "| step | prd_percent on the validation recordings |\n|--:|--:|\n";
    for point in thinned(run.curve) {
        let _ = writeln!(text, "| {} | {:.3} |", point.step, point.prd_percent);
    }
    text
}

/// At most [`CURVE_ROWS`] points, evenly spaced, the last among them.
fn thinned(curve: &[Point]) -> impl Iterator<Item = &Point> {
    let every = curve.len().div_ceil(CURVE_ROWS).max(1);
    let first = (curve.len() + every - 1) % every;
    curve.iter().skip(first).step_by(every)
}

fn recordings(run: &Finished<'_>) -> String {
    let mut text = String::from("\n## Recordings\n\n");
    text += "No subject is in two splits.\n\n";
    text += "| recording | split | subject | dataset | licence | from |\n|---|---|---|---|---|---|\n";
    for recording in run.dataset.recordings() {
        let _ = match &recording.description {
            Some(known) => writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                recording.name,
                recording.split,
                recording.subject,
                known.dataset,
                known.licence,
                known.source_repo
            ),
            None => writeln!(
                text,
                "| {} | {} | unknown | unknown | unknown | {} |",
                recording.name, recording.split, recording.subject
            ),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_is_thinned_and_keeps_its_end() {
        for length in 0..200_u64 {
            let curve: Vec<Point> = (0..length).map(|step| Point { step, prd_percent: 1.0 }).collect();
            let rows: Vec<u64> = thinned(&curve).map(|point| point.step).collect();
            assert!(rows.len() <= CURVE_ROWS, "{length}: {rows:?}");
            assert_eq!(rows.last().copied(), length.checked_sub(1));
        }
    }
}
