//! `rivulet run`: runs a pipeline to the end of its source.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::IntervalStream;
use tracing::Level;

use super::{CliError, exit};
use crate::config::{OnViolation, PipelineConfig, SinkConfig};
use crate::pipeline::{self, BuildError, Pipeline, Progress, RunError, Summary};
use crate::sink::SinkError;
use crate::source::SourceError;
use crate::telemetry::{LogFormat, init_logging};

/// How often the progress bar is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `rivulet run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Print the summary as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    logging: LoggingArguments,
}

/// Arguments of verbs that log.
#[derive(Debug, clap::Args)]
pub(super) struct LoggingArguments {
    /// Log more; twice for everything.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log errors only, and show no progress.
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Log lines for people or one JSON object each.
    #[arg(long, value_enum, default_value = "text")]
    log_format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LoggingArguments {
    /// Starts logging; progress bars belong into what it returns.
    pub(super) fn init(&self) -> MultiProgress {
        let bars = MultiProgress::new();
        let level = match (self.quiet, self.verbose) {
            (true, _) => Level::ERROR,
            (false, 0) => Level::INFO,
            (false, 1) => Level::DEBUG,
            (false, _) => Level::TRACE,
        };
        let format = match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        init_logging(level, format, &bars);
        bars
    }

    /// True if progress may be shown on the terminal.
    pub(super) fn shows_progress(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let bars = arguments.logging.init();
    let config = PipelineConfig::load(&arguments.pipeline).map_err(CliError::problems)?;
    let pipeline = Pipeline::build(&config).map_err(|error| build_error(&error))?;
    let bar = arguments.logging.shows_progress().then(|| bars.add(progress_bar(pipeline.total_samples())));

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(
            |error| CliError::new(exit::INTERNAL, format_args!("cannot start the runtime: {error}")),
        )?;
    let result = runtime.block_on(supervise(pipeline, bar.as_ref()));
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let summary = result.map_err(|error| run_error(&error))?;
    report(&summary, arguments.json, &config)
}

/// Runs the pipeline, draws its progress, and stops it at the first signal; at the second the process ends.
async fn supervise(pipeline: Pipeline, bar: Option<&ProgressBar>) -> Result<Summary, RunError> {
    enum Wake {
        Tick,
        Signal,
    }
    let progress = Arc::new(Progress::default());
    let mut running = std::pin::pin!(pipeline::run(pipeline, Arc::clone(&progress)));
    let (signals, signalled) = tokio::sync::mpsc::channel(2);
    tokio::spawn(pass_on_signals(signals));
    let signalled = tokio_stream::wrappers::ReceiverStream::new(signalled).map(|()| Wake::Signal);
    let ticks = IntervalStream::new(tokio::time::interval(PROGRESS_EVERY)).map(|_| Wake::Tick);
    let mut wakes = signalled.merge(ticks);
    loop {
        tokio::select! {
            result = &mut running => return result,
            Some(wake) = wakes.next() => match wake {
                Wake::Tick => {
                    if let Some(bar) = bar {
                        bar.set_position(progress.samples.load(Ordering::Relaxed));
                        let bytes = progress.packet_bytes.load(Ordering::Relaxed);
                        bar.set_message(format!("{} out", indicatif::HumanBytes(bytes)));
                    }
                }
                Wake::Signal if progress.stop.swap(true, Ordering::Relaxed) => {
                    std::process::exit(i32::from(exit::INTERRUPTED));
                }
                Wake::Signal => tracing::info!("stopping: what was read still leaves; a second signal quits at once"),
            },
        }
    }
}

/// Sends one message for each SIGINT or SIGTERM.
async fn pass_on_signals(signals: tokio::sync::mpsc::Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::warn!("signals cannot be caught: SIGINT and SIGTERM end the run at once");
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if signals.send(()).await.is_err() {
            return;
        }
    }
}

fn progress_bar(total_samples: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_samples {
        Some(total) => (
            ProgressBar::new(total),
            "{wide_bar} {percent}% {human_pos} samples, {per_sec}, {msg}, {eta} left",
        ),
        None => (ProgressBar::no_length(), "{spinner} {human_pos} samples, {per_sec}, {msg}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Prints the summary; on standard error where standard output carries packets.
fn report(summary: &Summary, json: bool, config: &PipelineConfig) -> Result<(), CliError> {
    if json {
        let line = serde_json::to_string(summary).map_err(|error| CliError::new(exit::INTERNAL, error))?;
        super::print(&(line + "\n"))?;
    } else if config.sinks.iter().any(|sink| matches!(sink, SinkConfig::Stdout(_))) {
        let _ = std::io::stderr().write_all(summary.table().as_bytes());
    } else {
        super::print(&summary.table())?;
    }
    let fails = config
        .sinks
        .iter()
        .any(|sink| matches!(sink, SinkConfig::Mirror(mirror) if mirror.on_violation == OnViolation::Fail));
    match (summary.violations, summary.max_prd_percent) {
        (Some(violations @ 1..), Some(limit)) if fails => Err(CliError::new(
            exit::CHECK_FAILED,
            format_args!("{violations} frames have a PRD above {limit} %, the mirror's max_prd_percent"),
        )),
        _ => Ok(()),
    }
}

fn build_error(error: &BuildError) -> CliError {
    let code = match error {
        BuildError::Config(error) => return CliError::problems(error),
        BuildError::Model(_) | BuildError::Window(_) | BuildError::Codec { .. } => exit::CONFIG,
        BuildError::Source(error) => source_code(error),
        BuildError::Sink(error) => sink_code(error),
    };
    CliError::new(code, error)
}

fn run_error(error: &RunError) -> CliError {
    let code = match error {
        RunError::Source(error) => source_code(error),
        RunError::Encode(pipeline::EncodeError::Window(_)) => exit::CONFIG,
        RunError::Encode(_) | RunError::Broken(_) => exit::INTERNAL,
        RunError::Sink(error) => sink_code(error),
    };
    CliError::new(code, error)
}

/// The exit code of a source's error.
pub(super) fn source_code(error: &SourceError) -> u8 {
    match error {
        SourceError::Io { .. } => exit::NO_INPUT,
        SourceError::Format { .. } => exit::DATA,
    }
}

fn sink_code(error: &SinkError) -> u8 {
    match error {
        SinkError::Create { .. } => exit::CANNOT_CREATE,
        SinkError::Write { .. } | SinkError::Packets { .. } => exit::IO,
        SinkError::ReadBack { .. }
        | SinkError::Decode { .. }
        | SinkError::Length { .. }
        | SinkError::UnknownStream(_) => exit::INTERNAL,
    }
}
