//! Replays: recordings played through a pipeline as if they were live, and what that measures.
//!
//! ```text
//! recordings -> player -> ReplaySource -> the pipeline's window, encoder and sinks
//!                    \--> messages to the pipeline's own topic -> the pipeline as it is
//! ```

mod feed;
mod report;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::feed::{FeedError, Produced};
pub use self::report::{LatencyBound, ReplayReport};

use self::feed::Feed;
use self::report::Measured;
use super::build::{BuildError, Pipeline, Substitute};
use super::control::Progress;
use super::fault::PipelineError;
use super::run::{RunError, run};
use crate::config::{KafkaSourceConfig, PipelineConfig, SinkConfig, SourceConfig, is_topic_pattern};
use crate::source::replay::{Meter, PlayOptions, Player, Recording, ReplaySource, Speed, WallClock};
use crate::telemetry::{PipelineTelemetry, process};

/// How recordings are replayed.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// How fast.
    pub speed: Speed,
    /// Streams that are made of the recordings; none: as many as they have.
    pub streams: Option<NonZeroUsize>,
    /// Wall time after which the replay ends; none: once every stream has been played, or for a paced replay when
    /// it is stopped.
    pub duration: Option<Duration>,
    /// Which way samples go.
    pub via: Via,
}

impl ReplayOptions {
    fn play(&self, chunk_rows: Option<NonZeroUsize>) -> PlayOptions {
        let once = self.speed.times().is_none() && self.duration.is_none();
        PlayOptions { speed: self.speed, streams: self.streams, chunk_rows, once }
    }
}

/// Which way samples go into the pipeline.
#[derive(Clone, Copy, Debug)]
pub enum Via {
    /// They take the place of its source.
    Memory,
    /// They are produced to the first topic of its source, and it reads them there.
    Kafka(Feeding),
}

/// How messages are produced.
#[derive(Clone, Copy, Debug, Default)]
pub struct Feeding {
    /// Samples per channel in a message; none: about 50 ms of them.
    pub message_samples: Option<NonZeroUsize>,
    /// The topic is made with so many partitions where it is missing; none: it has to exist.
    pub partitions: Option<NonZeroUsize>,
}

/// Why a replay cannot be begun or go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The pipeline cannot be built or go on.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Its topic cannot be fed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A replay through Kafka of a pipeline that does not read from it.
    #[error("the pipeline reads no topic: leave out --via kafka")]
    NoTopic,
    /// A file that the pipeline goes on with would be replaced.
    #[error(
        "{} holds what the pipeline has written, and a replay would replace it: move it away, or replay a copy of the \
         pipeline file with another path",
        .0.display()
    )]
    WouldReplace(PathBuf),
}

impl From<BuildError> for ReplayError {
    fn from(error: BuildError) -> Self {
        Self::Pipeline(error.into())
    }
}

impl From<RunError> for ReplayError {
    fn from(error: RunError) -> Self {
        Self::Pipeline(error.into())
    }
}

/// Plays `recordings` through the pipeline, until their end or [`Progress::stop`], and says what that took. Has to
/// be called within a tokio runtime of several threads.
///
/// # Errors
/// The pipeline cannot be built or go on, or its topic cannot be fed.
pub async fn replay(
    config: &PipelineConfig,
    recordings: Vec<Recording>,
    options: &ReplayOptions,
    telemetry: Arc<PipelineTelemetry>,
    progress: Arc<Progress>,
) -> Result<ReplayReport, ReplayError> {
    let measured = match options.via {
        Via::Memory => in_memory(config, recordings, options, &telemetry, progress).await?,
        Via::Kafka(feeding) => {
            let SourceConfig::Kafka(source) = &config.source else { return Err(ReplayError::NoTopic) };
            through_kafka(config, source, recordings, options, feeding, &telemetry, progress).await?
        }
    };
    Ok(ReplayReport::new(config, options, measured, &telemetry))
}

async fn in_memory(
    config: &PipelineConfig,
    recordings: Vec<Recording>,
    options: &ReplayOptions,
    telemetry: &Arc<PipelineTelemetry>,
    progress: Arc<Progress>,
) -> Result<Measured, ReplayError> {
    let topic = match &config.source {
        SourceConfig::File(_) => "",
        SourceConfig::Follow(_) | SourceConfig::Serial(_) => {
            keep_files(config)?;
            ""
        }
        SourceConfig::Kafka(source) => {
            keep_files(config)?;
            topic_of(source).unwrap_or("replay")
        }
    };
    let meter = Arc::<Meter>::default();
    let player = Player::new(recordings, &options.play(None));
    let streams = player.streams();
    let sample_rate_hz = player.sample_rate_hz();
    let live = player.is_paced();
    let source = ReplaySource::new(player, WallClock::new(), options.duration, topic, Arc::clone(&meter));
    let substitute = Substitute { source: Box::new(source), live };
    let pipeline = tokio::task::block_in_place(|| {
        Pipeline::build_with(config, Some(substitute), Arc::clone(telemetry))
    })?;
    let cpu_seconds = process::cpu_seconds();
    let summary = run(pipeline, progress).await?;
    let cpu_seconds = cpu_since(cpu_seconds);
    // Without a pace the source is done long before the pipeline.
    let play_seconds = if live { meter.elapsed_seconds() } else { summary.seconds };
    Ok(Measured { summary, streams, sample_rate_hz, meter, play_seconds, cpu_seconds, produced: None })
}

async fn through_kafka(
    config: &PipelineConfig,
    source: &KafkaSourceConfig,
    recordings: Vec<Recording>,
    options: &ReplayOptions,
    feeding: Feeding,
    telemetry: &Arc<PipelineTelemetry>,
    progress: Arc<Progress>,
) -> Result<Measured, ReplayError> {
    let meter = Arc::<Meter>::default();
    let (feed, pipeline) = tokio::task::block_in_place(|| -> Result<_, ReplayError> {
        let feed = Feed::open(config, source, recordings, options, feeding, telemetry, &meter)?;
        Ok((feed, Pipeline::build(config, Arc::clone(telemetry))?))
    })?;
    let (streams, sample_rate_hz) = (feed.player().streams(), feed.player().sample_rate_hz());
    let cpu_seconds = process::cpu_seconds();
    let feeding = {
        let progress = Arc::clone(&progress);
        tokio::task::spawn_blocking(move || {
            let fed = feed.run(&progress);
            // However it went, nothing more will come.
            progress.stop.store(true, Ordering::Relaxed);
            fed
        })
    };
    let ran = run(pipeline, Arc::clone(&progress)).await;
    progress.stop.store(true, Ordering::Relaxed);
    let fed = feeding.await.unwrap_or(Err(FeedError::Broken));
    let mut summary = ran?;
    let fed = fed?;
    let cpu_seconds = cpu_since(cpu_seconds);
    summary.interrupted = fed.interrupted;
    // From the first message: joining the group is no part of what is measured.
    summary.seconds = fed.seconds;
    summary.samples_per_second = if fed.seconds > 0.0 { summary.samples as f64 / fed.seconds } else { 0.0 };
    let play_seconds = if options.speed.times().is_some() { meter.elapsed_seconds() } else { fed.seconds };
    let produced = Some(fed.produced);
    Ok(Measured { summary, streams, sample_rate_hz, meter, play_seconds, cpu_seconds, produced })
}

fn cpu_since(before: Option<f64>) -> Option<f64> {
    Some(process::cpu_seconds()? - before?)
}

/// The topic that stands for all that a source reads: the first that is named itself.
fn topic_of(source: &KafkaSourceConfig) -> Option<&str> {
    source.topics.iter().map(String::as_str).find(|topic| !is_topic_pattern(topic))
}

/// Refuses to replace what a daemon has written.
fn keep_files(config: &PipelineConfig) -> Result<(), ReplayError> {
    let mut files = config.sinks.iter().filter_map(|sink| match sink {
        // Segments take names that are free.
        SinkConfig::File(file) => file.path.of_pipeline(&config.name).fixed(),
        _ => None,
    });
    match files.find(|path| path.is_file()) {
        Some(path) => Err(ReplayError::WouldReplace(path)),
        None => Ok(()),
    }
}
