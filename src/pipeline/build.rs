//! From a configuration to stages that are ready to run.

use std::path::Path;

use super::encode::EncodeStage;
use crate::codec::{CodecError, Encoder, RvqDecoder, RvqEncoder};
use crate::config::{ConfigError, EncoderConfig, PipelineConfig, Positive, SinkConfig, SourceConfig};
use crate::model::{DirectoryError, ModelDirectory, compute_compression_stats};
use crate::sink::{DeadLetterSink, FileSink, MirrorSink, Sink, SinkError, StdoutSink};
use crate::source::{Source, SourceError, file};
use crate::window::{Framer, FramerConfig, WindowError};

/// A pipeline that is ready to run.
pub struct Pipeline {
    pub(super) name: String,
    pub(super) source: Box<dyn Source>,
    pub(super) stage: EncodeStage,
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) dead_letters: DeadLetterSink,
    pub(super) nominal_ratio: f64,
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
    /// The source cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A sink cannot be opened.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl Pipeline {
    /// Loads the model, opens the source, then the sinks: nothing is created before what it needs is there.
    ///
    /// # Errors
    /// The first part that cannot be built.
    pub fn build(config: &PipelineConfig) -> Result<Self, BuildError> {
        let EncoderConfig::Rvq(encoder_config) = &config.encoder;
        let model = load_model(config)?;
        let architecture = model.architecture();
        let codec_error =
            |source| BuildError::Codec { path: encoder_config.model.display().to_string(), source };
        let encoder = RvqEncoder::new(&model, encoder_config.threads).map_err(codec_error)?;
        let framer = Framer::new(FramerConfig {
            frame_size: encoder.frame_size(),
            channels: encoder.channels(),
            max_gap_ns: config.window.max_gap.map(|gap| i64::try_from(gap.as_nanos()).unwrap_or(i64::MAX)),
            max_streams: config.window.max_streams.get(),
        })?;
        let nominal_ratio = compute_compression_stats(architecture, 16).compression_ratio;
        let source = match &config.source {
            SourceConfig::File(source) => file::open(&source.path, &source.options)?,
        };
        let dead_letters =
            DeadLetterSink::create(config.dead_letters.as_ref().map(|letters| letters.path.as_path()))?;
        let mut sinks: Vec<Box<dyn Sink>> = Vec::with_capacity(config.sinks.len());
        for sink in &config.sinks {
            sinks.push(match sink {
                SinkConfig::File(sink) => Box::new(FileSink::create(&sink.path)?),
                SinkConfig::Mirror(sink) => {
                    let decoder = RvqDecoder::new(&model).map_err(codec_error)?;
                    Box::new(MirrorSink::new(Box::new(decoder), sink.max_prd_percent.map(Positive::get)))
                }
                SinkConfig::Stdout(_) => Box::new(StdoutSink::new()),
            });
        }
        Ok(Self {
            name: config.name.clone(),
            source,
            stage: EncodeStage::new(
                framer,
                Box::new(encoder),
                encoder_config.frames_per_packet,
                encoder_config.batch_size,
            ),
            sinks,
            dead_letters,
            nominal_ratio,
        })
    }

    /// Samples (of all channels) that the source will give, where it knows.
    pub fn total_samples(&self) -> Option<u64> {
        self.source.total_samples()
    }
}

/// Loads the model that `config` names and holds the configuration to it.
///
/// # Errors
/// The model is damaged, or the configuration contradicts it.
pub fn load_model(config: &PipelineConfig) -> Result<ModelDirectory, BuildError> {
    let EncoderConfig::Rvq(encoder) = &config.encoder;
    let path: &Path = &encoder.model;
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
