//! `rivulet run`: runs pipelines to the ends of their sources, or until a signal.

mod outcome;
mod progress;
mod signals;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::Level;

pub(super) use outcome::{check_mirror, pipeline_error, source_code};
pub(super) use signals::Signals;

use self::outcome::Outcome;
use super::{CliError, exit, validate};
use crate::config::{PipelineConfig, Problem, SourceConfig};
use crate::kafka;
use crate::pipeline::{
    self, Attempt, BackOffPolicy, Pipeline, PipelineError, Progress, Restart, Summary, Supervisor,
};
use crate::telemetry::{HttpServer, LogFormat, Telemetry, init_logging};

/// How often the progress bar is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// The longest that a shutdown may be allowed to take: a day.
const MAX_SHUTDOWN_TIMEOUT_SECS: u64 = 86_400;

/// Arguments of `rivulet run`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Pipeline files, or directories of them: every *.toml file in one is a pipeline.
    #[arg(required = true, value_name = "FILE|DIR")]
    pipelines: Vec<PathBuf>,
    /// Print each pipeline's summary as one JSON object on a line.
    #[arg(long)]
    json: bool,
    /// Serve /metrics, /health/live and /health/ready here, for example on 127.0.0.1:9598.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,
    /// How long pipelines may take to finish after the first SIGINT or SIGTERM.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(..=MAX_SHUTDOWN_TIMEOUT_SECS)
    )]
    shutdown_timeout_secs: u64,
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
    let configs = load(&arguments.pipelines).map_err(|problems| {
        CliError::problems(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(
            |error| CliError::new(exit::INTERNAL, format_args!("cannot start the runtime: {error}")),
        )?;
    let result = runtime.block_on(run_all(&configs, &arguments, &bars));
    // Nothing is waited for that has not finished in time.
    runtime.shutdown_background();
    result
}

/// Every pipeline, each checked against its model.
fn load(paths: &[PathBuf]) -> Result<Vec<PipelineConfig>, Vec<Problem>> {
    let configs = PipelineConfig::load_all(paths)?;
    let problems: Vec<_> = configs
        .iter()
        .flat_map(|config| [kafka::check::problems(config), validate::model_problems(config)].concat())
        .collect();
    if problems.is_empty() { Ok(configs) } else { Err(problems) }
}

/// Runs the pipelines until all are over. The first signal stops them, the second ends the process.
async fn run_all(
    configs: &[PipelineConfig],
    arguments: &Arguments,
    bars: &MultiProgress,
) -> Result<(), CliError> {
    let telemetry = Arc::new(Telemetry::new());
    let mut signals = Signals::catch();
    let endpoints = match &arguments.metrics {
        Some(address) => Some(Endpoints::open(address, &telemetry).await?),
        None => None,
    };
    let mut supervisor = Supervisor::new(telemetry, BackOffPolicy::default());
    let mut bar = None;
    for config in configs {
        let own_bar = shows_progress(configs, &arguments.logging).then(|| bars.add(progress::progress_bar()));
        let progress = start(&mut supervisor, config.clone(), own_bar.clone());
        bar = own_bar.map(|bar| (bar, progress));
    }

    let mut outcome = Outcome::of(configs, arguments.json);
    let mut ticks = tokio::time::interval(PROGRESS_EVERY);
    let limit = Duration::from_secs(arguments.shutdown_timeout_secs);
    let mut deadline = None;
    loop {
        tokio::select! {
            ended = supervisor.next_ended() => match ended {
                Some(ended) => {
                    if let Some((bar, _)) = &bar {
                        bar.finish_and_clear();
                    }
                    outcome.take(ended);
                }
                None => break,
            },
            () = signals.next() => {
                if deadline.is_some() {
                    std::process::exit(i32::from(exit::INTERRUPTED));
                }
                // Whoever reads the line finds nothing ready any more.
                supervisor.stop();
                tracing::info!("stopping: what was read still leaves; a second signal quits at once");
                deadline = Some(tokio::time::Instant::now() + limit);
            }
            () = reached(deadline) => {
                let unfinished = supervisor.unfinished().join(", ");
                let seconds = limit.as_secs();
                return Err(CliError::new(
                    exit::UNFINISHED,
                    format_args!("not finished within {seconds} s of the signal: {unfinished}"),
                ));
            }
            _ = ticks.tick(), if bar.is_some() => {
                if let Some((bar, progress)) = &bar {
                    progress::draw(bar, progress);
                }
            }
        }
    }
    if let Some(endpoints) = endpoints {
        endpoints.close().await;
    }
    outcome.end()
}

async fn reached(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn start(supervisor: &mut Supervisor, config: PipelineConfig, bar: Option<ProgressBar>) -> Arc<Progress> {
    let restart = if is_finite(&config) { Restart::Never } else { Restart::Always };
    let config = Arc::new(config);
    let name = config.name.clone();
    supervisor.start(&name, restart, move |attempt| attempt_run(Arc::clone(&config), attempt, bar.clone()))
}

async fn attempt_run(
    config: Arc<PipelineConfig>,
    attempt: Attempt,
    bar: Option<ProgressBar>,
) -> Result<Summary, PipelineError> {
    let pipeline = tokio::task::block_in_place(|| Pipeline::build(&config, Arc::clone(&attempt.telemetry)))?;
    if let (Some(bar), Some(total_samples)) = (bar, pipeline.total_samples()) {
        progress::expect(&bar, total_samples);
    }
    attempt.running();
    Ok(pipeline::run(pipeline, attempt.progress).await?)
}

/// Progress is that of one pipeline with an end to come to.
fn shows_progress(configs: &[PipelineConfig], logging: &LoggingArguments) -> bool {
    logging.shows_progress() && matches!(configs, [config] if is_finite(config))
}

fn is_finite(config: &PipelineConfig) -> bool {
    match config.source {
        SourceConfig::File(_) => true,
        SourceConfig::Follow(_) | SourceConfig::Kafka(_) | SourceConfig::Serial(_) => false,
    }
}

/// The HTTP endpoints while they are served.
struct Endpoints {
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Endpoints {
    async fn open(address: &str, telemetry: &Arc<Telemetry>) -> Result<Self, CliError> {
        let server = HttpServer::bind(address, Arc::clone(telemetry))
            .await
            .map_err(|error| CliError::new(exit::UNAVAILABLE, error))?;
        tracing::info!(address = %server.address(), "serving /metrics, /health/live and /health/ready");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(server.serve(async { drop(stopped.await) }));
        Ok(Self { stop, serving })
    }

    async fn close(self) {
        drop(self.stop);
        // A server that broke off has nothing more to answer.
        let _ = self.serving.await;
    }
}
