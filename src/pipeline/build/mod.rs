//! From a configuration to stages that are ready to run.

mod follow;
mod kafka;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::kafka::Member;
use super::encode::{EncodeError, EncodeOptions, EncodeStage, StateKept};
use super::encoding::{CommitPace, Pace};
use super::stage::CodecStage;
use crate::codec::{CodecError, Encoder, RvqDecoder, RvqEncoder};
use crate::config::{
    ConfigError, DeadLetterConfig, EncoderConfig, PipelineConfig, Positive, RvqEncoderConfig, SinkConfig,
    SourceConfig, StateStore,
};
use crate::kafka::instance::{Instance, InstanceError};
use crate::kafka::model_topic::ModelTopicError;
use crate::model::{DirectoryError, ModelDirectory, compute_compression_stats};
use crate::sink::{
    DeadLetterSink, FileSinkOptions, MirrorSink, ReadAgain, Sink, SinkError, StdoutSink, open_file_sink,
};
use crate::source::serial::{SILENCE, SerialSource};
use crate::source::{Committer, Source, SourceError, file};
use crate::telemetry::PipelineTelemetry;
use crate::window::{FramerConfig, WindowError};

/// A pipeline that is ready to run.
pub struct Pipeline {
    pub(super) name: String,
    pub(super) source: Box<dyn Source>,
    pub(super) committer: Option<Box<dyn Committer>>,
    pub(super) stage: CodecStage,
    pub(super) pace: Pace,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) nominal_ratio: Option<f64>,
    pub(super) telemetry: Arc<PipelineTelemetry>,
    /// Set where the run has failed: nobody need wait for anything any more.
    pub(super) abandoned: Arc<AtomicBool>,
    /// The name of this process, kept from others as long as the pipeline runs.
    pub(super) instance: Option<Instance>,
}

/// What takes the place of a pipeline's own source. Nobody keeps its positions.
pub(super) struct Substitute {
    pub(super) source: Box<dyn Source>,
    /// True if packets leave at the pace of a live source.
    pub(super) live: bool,
}

/// Why a pipeline cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The configuration does not fit the model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model cannot be loaded.
    #[error(transparent)]
    Model(#[from] DirectoryError),
    /// The model's networks cannot be run.
    #[error("model {path}: {source}")]
    Codec {
        /// The model directory.
        path: String,
        /// Why.
        source: CodecError,
    },
    /// The model's frames cannot be cut.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// The model cannot be published.
    #[error(transparent)]
    Models(#[from] ModelTopicError),
    /// The source cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink cannot be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The stage cannot be made.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// There is no name for this process.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// A pipeline without an encoder.
    #[error("the pipeline has no encoder")]
    NoEncoder,
}

impl Pipeline {
    /// Loads the model, opens the source, then the sinks: nothing is created before what it needs is there.
    ///
    /// # Errors
    /// The first part that cannot be built.
    pub fn build(config: &PipelineConfig, telemetry: Arc<PipelineTelemetry>) -> Result<Self, BuildError> {
        Self::build_with(config, None, telemetry)
    }

    /// As [`Pipeline::build`], with another source than the configuration's own where one is given.
    pub(super) fn build_with(
        config: &PipelineConfig,
        substitute: Option<Substitute>,
        telemetry: Arc<PipelineTelemetry>,
    ) -> Result<Self, BuildError> {
        // A pipeline without an encoder turns packets into samples.
        let encoding = encoder_config(config).ok();
        let model = encoding.map(|_| load_model(config)).transpose()?;
        let codec_error = |source| BuildError::Codec {
            path: encoding.map(|encoding| encoding.model.display().to_string()).unwrap_or_default(),
            source,
        };
        if encoding.is_none() && substitute.is_some() {
            return Err(BuildError::NoEncoder);
        }
        let state = match config.delivery.state {
            // A substitute has one origin for all streams.
            StateStore::None if substitute.is_none() => StateKept::Start,
            _ => StateKept::Windows,
        };
        let stage = match (encoding, &model) {
            (Some(encoding), Some(model)) => {
                let encoder = RvqEncoder::new(model, encoding.threads).map_err(codec_error)?;
                CodecStage::Encode(stage(config, encoding, encoder, state)?)
            }
            _ => CodecStage::Decode(kafka::decode_stage(config)?),
        };
        let abandoned = Arc::<AtomicBool>::default();
        let mut committer: Option<Box<dyn Committer>> = None;
        let read_again = match &config.source {
            _ if substitute.is_some() => ReadAgain::All,
            SourceConfig::File(_) => ReadAgain::All,
            SourceConfig::Kafka(_) | SourceConfig::Follow(_) => ReadAgain::Uncommitted,
            SourceConfig::Serial(_) => ReadAgain::Nothing,
        };
        let (source, member, live): (Box<dyn Source>, _, _) = match (substitute, &config.source) {
            (Some(substitute), _) => (substitute.source, None, substitute.live),
            (None, SourceConfig::File(source)) => {
                (file::open_all(&source.paths, &source.options)?, None, false)
            }
            (None, SourceConfig::Follow(source)) => {
                let (source, keeper) = follow::open(config, source, &telemetry)?;
                committer = Some(Box::new(keeper));
                (Box::new(source), None, true)
            }
            (None, SourceConfig::Kafka(source)) => {
                let (source, member) = Member::join(config, source, &telemetry)?;
                (Box::new(source), Some(member), true)
            }
            (None, SourceConfig::Serial(source)) => {
                let silence = config.window.max_gap.unwrap_or(SILENCE);
                let max_streams = config.window.max_streams.get();
                let options = source.as_ref().clone();
                let source = SerialSource::new(options, silence, max_streams, Arc::clone(&telemetry));
                (Box::new(source), None, true)
            }
        };
        if let Some(member) = &member {
            committer = member.committer(&telemetry, &abandoned)?;
        }
        let mut sinks: Vec<Box<dyn Sink>> = Vec::with_capacity(config.sinks.len() + 1);
        sinks.extend(dead_letters(config, member.as_ref(), &telemetry, &abandoned)?);
        for sink in &config.sinks {
            sinks.push(match sink {
                SinkConfig::File(sink) => {
                    let options = FileSinkOptions {
                        path: sink.path.of_pipeline(&config.name),
                        roll: sink.roll,
                        sync: sink.sync,
                        max_open_segments: sink.max_open_segments,
                        read_again,
                    };
                    open_file_sink(options, &telemetry)?
                }
                SinkConfig::Kafka(sink) => {
                    if let Some(model) = &model {
                        kafka::publish_model(sink, model, &telemetry, &abandoned)?;
                    }
                    kafka::sink(config, sink, member.as_ref(), &telemetry, &abandoned)?
                }
                SinkConfig::Mirror(sink) => {
                    let model = model.as_ref().ok_or(BuildError::NoEncoder)?;
                    let decoder = RvqDecoder::new(model).map_err(codec_error)?;
                    let max_prd_percent = sink.max_prd_percent.map(Positive::get);
                    Box::new(MirrorSink::new(Box::new(decoder), max_prd_percent, Arc::clone(&telemetry)))
                }
                SinkConfig::Stdout(_) => Box::new(StdoutSink::new()),
            });
        }
        Ok(Self {
            name: config.name.clone(),
            source,
            committer,
            stage,
            pace: pace(config, encoding, live),
            sinks,
            nominal_ratio: model
                .as_ref()
                .map(|model| compute_compression_stats(model.architecture(), 16).compression_ratio),
            telemetry,
            abandoned,
            instance: member.map(Member::into_instance),
        })
    }

    /// Samples (of all channels) that the source will give, where it knows.
    pub fn total_samples(&self) -> Option<u64> {
        self.source.total_samples()
    }
}

fn stage(
    config: &PipelineConfig,
    encoding: &RvqEncoderConfig,
    encoder: RvqEncoder,
    state: StateKept,
) -> Result<EncodeStage, BuildError> {
    let framer = FramerConfig {
        frame_size: encoder.frame_size(),
        channels: encoder.channels(),
        max_gap_ns: config.window.max_gap.map(|gap| i64::try_from(gap.as_nanos()).unwrap_or(i64::MAX)),
        max_streams: config.window.max_streams.get(),
    };
    let options = EncodeOptions {
        frames_per_packet: encoding.frames_per_packet,
        batch_size: encoding.batch_size,
        state,
    };
    Ok(EncodeStage::new(Box::new(encoder), framer, options)?)
}

/// A file is read as fast as it can be: nothing about it depends on the clock.
fn pace(config: &PipelineConfig, encoding: Option<&RvqEncoderConfig>, live: bool) -> Pace {
    let delivery = &config.delivery;
    // What a serial port has sent has no positions.
    let commits = live && !matches!(config.source, SourceConfig::Serial(_));
    let at_most = |count: Option<std::num::NonZeroUsize>| count.map_or(u64::MAX, |count| count.get() as u64);
    Pace {
        commit: commits.then(|| CommitPace {
            interval: delivery.commit_interval,
            frames: at_most(delivery.commit_frames),
            bytes: at_most(delivery.commit_bytes),
        }),
        max_packet_delay: encoding.and_then(|encoding| encoding.max_packet_delay).filter(|_| live),
        idle_timeout: config.window.idle_timeout.filter(|_| live),
    }
}

/// The sink of dead letters; none where the sink of packets takes them into its transactions.
fn dead_letters(
    config: &PipelineConfig,
    member: Option<&Member<'_>>,
    telemetry: &Arc<PipelineTelemetry>,
    abandoned: &Arc<AtomicBool>,
) -> Result<Option<Box<dyn Sink>>, BuildError> {
    let sink = match (&config.dead_letters, member) {
        (Some(DeadLetterConfig::Topic { topic }), Some(member)) => {
            return Ok(member.dead_letter_sink(topic, telemetry, abandoned)?);
        }
        (Some(DeadLetterConfig::File { path }), _) => {
            // What was kept by a daemon stays there.
            let goes_on = !matches!(config.source, SourceConfig::File(_));
            DeadLetterSink::create(Some(path), goes_on)?
        }
        _ => DeadLetterSink::create(None, false)?,
    };
    Ok(Some(Box::new(sink)))
}

fn encoder_config(config: &PipelineConfig) -> Result<&RvqEncoderConfig, BuildError> {
    match &config.encoder {
        Some(EncoderConfig::Rvq(encoder)) => Ok(encoder),
        None => Err(BuildError::NoEncoder),
    }
}

/// Loads the model that `config` names and holds the configuration to it.
///
/// # Errors
/// The model is damaged, or the configuration contradicts it.
pub fn load_model(config: &PipelineConfig) -> Result<ModelDirectory, BuildError> {
    let path: &Path = &encoder_config(config)?.model;
    let model = ModelDirectory::load(path)?;
    let expected = model.architecture().frame_size;
    match config.window.frame_size {
        Some(found) if found.get() != expected => Err(ConfigError::from(config.problem(
                "window.frame_size",
                format!(
                    "is {found}, but the model {} takes frames of {expected} samples; leave it out or set it to {expected}",
                    path.display()
                ),
        ))
        .into()),
        _ => Ok(model),
    }
}
