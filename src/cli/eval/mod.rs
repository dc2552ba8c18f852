//! `rivulet eval`: measures a model on recordings.

mod plot;
mod report;

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::Serialize;

use super::run::{LoggingArguments, source_code};
use super::{CliError, exit};
use crate::fidelity::Fidelity;
use crate::model::{ModelDirectory, ModelId, compute_compression_stats};
use crate::pipeline::{MeasureError, MeasureOptions, Measured, fidelity_rows, measure};
use crate::source::file::FileOptions;

/// Arguments of `rivulet eval`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The recordings.
    #[arg(required = true)]
    recordings: Vec<PathBuf>,
    /// The model directory.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Frames of a packet.
    #[arg(long, value_name = "N", default_value = "16")]
    frames_per_packet: NonZeroUsize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a page with plots; it opens without a network.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write the first stream's beginning, original and decoded, as a picture.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    logging: LoggingArguments,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Evaluation {
    model: String,
    model_id: ModelId,
    nominal_ratio: f64,
    recordings: Vec<Row>,
    overall: Row,
}

/// One recording, or all of them.
#[derive(Debug, Serialize)]
struct Row {
    recording: String,
    streams: usize,
    samples: u64,
    frames: u64,
    bytes_in: u64,
    bytes_out: u64,
    ratio: f64,
    #[serde(flatten)]
    fidelity: Fidelity,
    dead_letters: usize,
}

impl Row {
    fn new(recording: String, measured: &[&Measured]) -> Self {
        let sum = |part: fn(&Measured) -> u64| measured.iter().map(|measured| part(measured)).sum::<u64>();
        let bytes_in = sum(|measured| measured.bits_in).div_ceil(8);
        let bytes_out = sum(|measured| measured.bytes_out);
        let streams = || measured.iter().flat_map(|measured| &measured.streams);
        Self {
            recording,
            streams: streams().count(),
            samples: sum(|measured| measured.samples),
            frames: sum(|measured| measured.frames),
            bytes_in,
            bytes_out,
            ratio: bytes_in as f64 / bytes_out.max(1) as f64,
            fidelity: Fidelity::over(streams().map(|stream| &stream.fidelity)),
            dead_letters: measured.iter().map(|measured| measured.dead_letters.len()).sum(),
        }
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let bars = arguments.logging.init();
    let model = ModelDirectory::load(&arguments.model).map_err(|error| CliError::new(exit::CONFIG, error))?;
    let options = MeasureOptions {
        frames_per_packet: arguments.frames_per_packet,
        batch_size: arguments.frames_per_packet,
        file: FileOptions::default(),
    };
    let bar = arguments
        .logging
        .shows_progress()
        .then(|| bars.add(indicatif::ProgressBar::new(arguments.recordings.len() as u64)));
    let mut measured = Vec::with_capacity(arguments.recordings.len());
    for path in &arguments.recordings {
        let result = measure(&model, path, &options).map_err(|error| measure_error(path, &error))?;
        for letter in &result.dead_letters {
            tracing::warn!(
                origin = letter.origin,
                samples = letter.samples,
                "dead letter: {}",
                letter.reason
            );
        }
        let name =
            path.file_stem().map_or_else(|| path.display().to_string(), |stem| stem.to_string_lossy().into());
        measured.push((name, result));
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }

    let all: Vec<&Measured> = measured.iter().map(|(_, measured)| measured).collect();
    let evaluation = Evaluation {
        model: model.name().to_owned(),
        model_id: model.id(),
        nominal_ratio: compute_compression_stats(model.architecture(), 16).compression_ratio,
        recordings: measured.iter().map(|(name, measured)| Row::new(name.clone(), &[measured])).collect(),
        overall: Row::new("all".to_owned(), &all),
    };
    if let Some(path) = &arguments.report {
        write_file(path, &report::html(&evaluation, &measured).map_err(plot_error)?)?;
    }
    if let Some(path) = &arguments.plot
        && let Some(stream) = measured.first().and_then(|(_, measured)| measured.streams.first())
    {
        write_file(path, &plot::overlay(&stream.info, &stream.beginning).map_err(plot_error)?)?;
    }
    if arguments.json {
        let json =
            serde_json::to_string(&evaluation).map_err(|error| CliError::new(exit::INTERNAL, error))?;
        super::print(&(json + "\n"))
    } else {
        super::print(&table(&evaluation))
    }
}

fn table(evaluation: &Evaluation) -> String {
    let mut text = format!(
        "model {} ({}), nominal ratio {:.2}\n\n{:<24} {:>9} {:>7} {:>9} {:>9} {:>9} {:>10}\n",
        evaluation.model,
        evaluation.model_id,
        evaluation.nominal_ratio,
        "recording",
        "frames",
        "ratio",
        "prd %",
        "p90 %",
        "snr dB",
        "max error"
    );
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    for row in evaluation.recordings.iter().chain([&evaluation.overall]) {
        let _ = writeln!(
            text,
            "{:<24} {:>9} {:>7.2} {:>9} {:>9} {:>9} {:>10}",
            row.recording,
            row.frames,
            row.ratio,
            number(row.fidelity.prd_percent),
            number(row.fidelity.frame_prd_percent.map(|frames| frames.p90)),
            number(row.fidelity.snr_db),
            row.fidelity.max_error,
        );
    }
    text.push('\n');
    for (name, value) in fidelity_rows(&evaluation.overall.fidelity) {
        let _ = writeln!(text, "{name:<20} {value}");
    }
    text
}

fn write_file(path: &std::path::Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|error| {
        CliError::new(exit::CANNOT_CREATE, format_args!("cannot write {}: {error}", path.display()))
    })
}

fn plot_error(error: plot::PlotError) -> CliError {
    CliError::new(exit::INTERNAL, format_args!("cannot draw: {error}"))
}

fn measure_error(path: &std::path::Path, error: &MeasureError) -> CliError {
    let code = match error {
        MeasureError::Source(error) => source_code(error),
        MeasureError::Encode(crate::pipeline::EncodeError::Window(_)) => exit::DATA,
        _ => exit::INTERNAL,
    };
    match error {
        // The source names the file itself.
        MeasureError::Source(error) => CliError::new(code, error),
        error => CliError::new(code, format_args!("{}: {error}", path.display())),
    }
}
