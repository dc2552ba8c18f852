//! `rivulet replay`: plays recordings through a pipeline as if they were live, and measures it.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::run::{LoggingArguments, Signals, check_mirror, pipeline_error, source_code};
use super::{CliError, exit, print, validate};
use crate::config::{FileSourceConfig, PipelineConfig, Problem, SinkConfig, SourceConfig};
use crate::pipeline::{FeedError, Feeding, Progress, ReplayError, ReplayOptions, ReplayReport, Via, replay};
use crate::source::file::{FileOptions, expand};
use crate::source::replay::{Recording, Speed, load};
use crate::telemetry::Telemetry;

/// What `--help` says first.
pub(super) const ABOUT: &str = "Play recordings through a pipeline as if they were live, and measure it.

The pipeline's own window, encoder and sinks are used: what it writes is real. With --speed N every stream has a \
schedule that does not wait for the pipeline, and latency is counted from the time at which a frame's last sample was \
due to its acknowledged packet.

With --via kafka the recordings are produced to the first topic that the pipeline names, and the pipeline reads them \
there as its own group, with its own state: what a daemon of the same name has left unread is read too, and a daemon \
that runs shares the work. For measurements, give a copy of the pipeline file a name, a topic and a group of its own.";

/// The longest play: ten years.
const MAX_DURATION_SECONDS: f64 = 315_576_000.0;

/// Arguments of `rivulet replay`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The pipeline file.
    pipeline: PathBuf,
    /// Recordings to play; without any, the pipeline's own file source.
    #[arg(long, value_name = "RECORDING", num_args = 1..)]
    input: Vec<PathBuf>,
    /// How many times as fast as real time, or max: as fast as the pipeline takes it.
    #[arg(long, value_name = "1|10|max", default_value = "max")]
    speed: Speed,
    /// Streams to make of the recordings, each from another place of one; by default as many as there are.
    #[arg(long, value_name = "N")]
    streams: Option<NonZeroUsize>,
    /// Seconds to play, round and round. Without it, max plays every stream once, and a paced replay goes on until a
    /// signal.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Which way samples go: in the place of the pipeline's source, or through its own topic, group and state.
    #[arg(long, value_enum, value_name = "memory|kafka", default_value = "memory")]
    via: Way,
    /// Samples per channel in a message, with --via kafka; by default about 50 ms of them.
    #[arg(long, value_name = "N")]
    message_samples: Option<NonZeroUsize>,
    /// Make the topic with so many partitions where it is missing, with --via kafka.
    #[arg(long, value_name = "N")]
    partitions: Option<NonZeroUsize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    logging: LoggingArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    Memory,
    Kafka,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> =
        text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= MAX_DURATION_SECONDS);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a positive number of seconds".to_owned())
}

impl Arguments {
    fn options(&self) -> Result<ReplayOptions, CliError> {
        let via = match self.via {
            Way::Kafka => {
                Via::Kafka(Feeding { message_samples: self.message_samples, partitions: self.partitions })
            }
            Way::Memory => {
                let given = [
                    ("--message-samples", self.message_samples.is_some()),
                    ("--partitions", self.partitions.is_some()),
                ];
                if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
                    return Err(CliError::new(
                        exit::USAGE,
                        format_args!("{name} means nothing without --via kafka"),
                    ));
                }
                Via::Memory
            }
        };
        Ok(ReplayOptions { speed: self.speed, streams: self.streams, duration: self.duration, via })
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let _bars = arguments.logging.init();
    let options = arguments.options()?;
    let config = read(&arguments.pipeline)?;
    let recordings = recordings(&config, &arguments.input)?;
    say_where_it_goes(&config, &options);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(
            |error| CliError::new(exit::INTERNAL, format_args!("cannot start the runtime: {error}")),
        )?;
    let report = runtime.block_on(measure(&config, recordings, &options));
    runtime.shutdown_background();
    let report = report?;
    show(&report, &config, arguments.json)?;
    check_mirror(&config, &report.summary)
}

/// The pipeline, checked against its model.
fn read(path: &std::path::Path) -> Result<PipelineConfig, CliError> {
    let config = PipelineConfig::load(path).map_err(CliError::problems)?;
    if config.encoder.is_none() {
        return Err(CliError::problems(config.problem(
            "source.decoding",
            "the pipeline turns packets into samples: there is nothing to replay",
        )));
    }
    let problems = validate::model_problems(&config);
    match problems.as_slice() {
        [] => Ok(config),
        problems => {
            let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
            Err(CliError::problems(lines.join("\n")))
        }
    }
}

/// What is played: the inputs that were given, or the pipeline's own.
fn recordings(config: &PipelineConfig, inputs: &[PathBuf]) -> Result<Vec<Recording>, CliError> {
    let read = match (inputs, &config.source) {
        ([], SourceConfig::File(FileSourceConfig { paths, options })) => {
            expand(paths).and_then(|paths| load(&paths, options))
        }
        ([], SourceConfig::Follow(_)) => {
            return Err(CliError::new(
                exit::USAGE,
                "the pipeline follows files, and a replay plays recordings: give some with --input RECORDING...",
            ));
        }
        ([], SourceConfig::Kafka(_)) => {
            return Err(CliError::new(
                exit::USAGE,
                "the pipeline reads topics, and a replay plays recordings: give some with --input RECORDING...",
            ));
        }
        ([], SourceConfig::Serial(_)) => {
            return Err(CliError::new(
                exit::USAGE,
                "the pipeline reads a serial port, and a replay plays recordings: give some with --input RECORDING...",
            ));
        }
        (inputs, SourceConfig::File(FileSourceConfig { options, .. })) => load(inputs, options),
        (inputs, SourceConfig::Follow(_) | SourceConfig::Kafka(_) | SourceConfig::Serial(_)) => {
            load(inputs, &FileOptions::default())
        }
    };
    read.map_err(|error| CliError::new(source_code(&error), error))
}

/// Says before anything is written where it will be.
fn say_where_it_goes(config: &PipelineConfig, options: &ReplayOptions) {
    if let (Via::Kafka(_), SourceConfig::Kafka(source)) = (options.via, &config.source) {
        tracing::info!(
            group = source.group_id,
            brokers = source.client.brokers,
            "recordings are produced to {}, and the pipeline reads them there as its own group, with its own state",
            source.topics.join(", ")
        );
    }
    for sink in &config.sinks {
        match sink {
            SinkConfig::File(file) => tracing::info!("packets go to the file {}", file.path),
            SinkConfig::Kafka(kafka) => {
                tracing::info!(brokers = kafka.client.brokers, "packets go to the topic {}", kafka.topic);
            }
            SinkConfig::Stdout(_) => tracing::info!("packets go to standard output"),
            SinkConfig::Mirror(_) => {}
        }
    }
}

/// The first signal stops the replay, and what was played still leaves; the second ends the process.
async fn measure(
    config: &PipelineConfig,
    recordings: Vec<Recording>,
    options: &ReplayOptions,
) -> Result<ReplayReport, CliError> {
    let telemetry = Telemetry::new().pipeline(&config.name);
    let progress = Arc::<Progress>::default();
    let mut signals = Signals::catch();
    let replaying = {
        let (config, options, progress) = (config.clone(), *options, Arc::clone(&progress));
        tokio::spawn(async move { replay(&config, recordings, &options, telemetry, progress).await })
    };
    tokio::pin!(replaying);
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = &mut replaying => {
                let ended = ended.map_err(|error| CliError::new(exit::INTERNAL, format_args!("the replay broke off: {error}")))?;
                return ended.map_err(|error| replay_error(&error));
            }
            () = signals.next() => {
                if stopping {
                    std::process::exit(i32::from(exit::INTERRUPTED));
                }
                stopping = true;
                tracing::info!("stopping: what was played still leaves; a second signal quits at once");
                progress.stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn show(report: &ReplayReport, config: &PipelineConfig, json: bool) -> Result<(), CliError> {
    if json {
        let line = serde_json::to_string(report).map_err(|error| CliError::new(exit::INTERNAL, error))?;
        return print(&(line + "\n"));
    }
    if config.sinks.iter().any(|sink| matches!(sink, SinkConfig::Stdout(_))) {
        let _ = std::io::stderr().write_all(report.table().as_bytes());
        return Ok(());
    }
    print(&report.table())
}

fn replay_error(error: &ReplayError) -> CliError {
    let code = match error {
        ReplayError::Pipeline(error) => return pipeline_error(error),
        ReplayError::NoTopic => exit::USAGE,
        ReplayError::WouldReplace(_) => exit::CANNOT_CREATE,
        ReplayError::Feed(error) => match error {
            FeedError::NoTopic | FeedError::Packets | FeedError::Messages(_) => exit::CONFIG,
            FeedError::Recording { .. } => exit::DATA,
            FeedError::Missing { .. } | FeedError::Unavailable { .. } => exit::UNAVAILABLE,
            FeedError::Broken => exit::INTERNAL,
        },
    };
    CliError::new(code, error)
}
