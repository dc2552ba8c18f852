//! Pipeline files: one TOML file declares one pipeline.
//!
//! ```text
//! text -> config crate -> ${VAR} expanded -> typed section by section -> rules across sections
//!      -> spanned parse: the line of every key
//! ```
//!
//! Reading is pure: nothing the file names is opened. Every problem is found in one pass and reported with
//! its line; what comes out is a [`PipelineConfig`] whose fields are valid by their types. What needs the
//! model (does `frame_size` fit?) is for whoever loads the model, who reports it in the same form with
//! [`PipelineConfig::problem`]. Every key is described in `docs/configuration.md`.

mod decoding;
mod delivery;
mod encoder;
mod follow;
mod framing;
mod interpolate;
mod kafka;
mod places;
mod problem;
mod rules;
mod secret;
mod section;
mod serial;
mod set;
mod sink;
mod source;
mod value;
mod window;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use config::{FileFormat, Source};

pub use crate::source::decoding::DecodingOptions;
pub use crate::source::serial::SerialOptions;
pub use delivery::{DeliveryConfig, Guarantee, StateStore};
pub use encoder::{EncoderConfig, RvqEncoderConfig};
pub use follow::FollowSourceConfig;
pub use kafka::{
    AssignmentStrategy, AutoOffsetReset, Compression, CreateTopicConfig, InvalidTopicName, KafkaClientConfig,
    KafkaEncoding, KafkaSinkConfig, KafkaSourceConfig, PacketsDecoding, SaslConfig, SaslMechanism,
    SourceDecoding, TlsConfig, TlsIdentity, TopicTemplate, check_topic_name, is_topic_pattern,
};
pub use problem::{ConfigError, Problem};
pub use secret::Secret;
pub use section::Positive;
pub use sink::{
    DeadLetterConfig, FileSinkConfig, MirrorSinkConfig, OnViolation, SinkConfig, StdoutFormat,
    StdoutSinkConfig,
};
pub use source::{FileSourceConfig, SourceConfig};
pub use window::WindowConfig;

pub(crate) use kafka::{DEFAULT_SESSION_TIMEOUT_MS, is_consumer_only, is_producer_only};
use places::Places;
use section::{Refused, Report, Section};

/// Far more than a pipeline file needs; keeps a wrong path (`/dev/zero`, a recording) from filling memory.
const MAX_FILE_BYTES: u64 = 1 << 16;

/// The keys of the file's top level.
const TOP_LEVEL_KEYS: &[&str] = &["name", "source", "window", "encoder", "delivery", "sinks", "dead_letters"];

/// One pipeline, as its file declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineConfig {
    /// Names the pipeline in logs and reports: 1 to 64 ASCII letters, digits, `-`, `_` or `.`.
    pub name: String,
    /// Where samples come from.
    pub source: SourceConfig,
    /// How streams are cut into frames.
    pub window: WindowConfig,
    /// How frames become packets; none where the source holds packets, which become samples again.
    pub encoder: Option<EncoderConfig>,
    /// What is promised of every frame.
    pub delivery: DeliveryConfig,
    /// Where packets go, in the file's order; at least one.
    pub sinks: Vec<SinkConfig>,
    /// Where inputs that cannot be used are kept; without it they are counted and logged only.
    pub dead_letters: Option<DeadLetterConfig>,
    places: Places,
}

impl PipelineConfig {
    /// Reads a pipeline file; `${VAR}` in it is expanded from the process's environment.
    ///
    /// # Errors
    /// Every problem of the file at once, or the one that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let origin = path.display().to_string();
        let unreadable = |reason: String| ConfigError::from(Problem::of_file(&origin, reason));
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(unreadable(format!("is larger than {MAX_FILE_BYTES} bytes: not a pipeline file")));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &origin, &|name| std::env::var(name).ok()),
            Err(error) => Err(ConfigError::from(places::not_utf8(&origin, &bytes, error.valid_up_to()))),
        }
    }

    /// Reads a pipeline from its text. `origin` names the text in problems, `environment` looks up the
    /// variables that `${VAR}` names.
    ///
    /// # Errors
    /// Every problem of the text at once.
    pub fn parse(
        text: &str,
        origin: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let places = Places::of(text, origin)?;
        let table = config::File::from_str(text, FileFormat::Toml)
            .collect()
            .map_err(|error| Problem::of_file(origin, error.to_string()))?;
        let report = Report::new(&places);
        let table = value::expand_table(table, "", environment, &report);
        let declared = read_pipeline(table, &report);
        let problems = report.into_problems();
        match declared {
            Ok(Declared { name, source, window, encoder, delivery, sinks, dead_letters })
                if problems.is_empty() =>
            {
                Ok(Self { name, source, window, encoder, delivery, sinks, dead_letters, places })
            }
            _ => Err(ConfigError::from(problems)),
        }
    }

    /// A problem with the value at `key` (`window.frame_size`, `sinks[1].path`) that shows only once
    /// something outside the file is known; carries the file and line like those found by reading.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        self.places.problem(key, message)
    }
}

/// The sections of a pipeline, each valid.
struct Declared {
    name: String,
    source: SourceConfig,
    window: WindowConfig,
    encoder: Option<EncoderConfig>,
    delivery: DeliveryConfig,
    sinks: Vec<SinkConfig>,
    dead_letters: Option<DeadLetterConfig>,
}

fn read_pipeline(table: value::Table, report: &Report<'_>) -> Result<Declared, Refused> {
    let mut root = Section::new(String::new(), table, TOP_LEVEL_KEYS, report);
    let name = root.text("name");
    let name = root.required("name", name).and_then(|name| checked_name(name, report));
    let source = root.value("source");
    let holds_packets = kafka::holds_packets(source.as_ref().ok().and_then(Option::as_ref));
    let follows = follow::follows(source.as_ref().ok().and_then(Option::as_ref));
    let source = root.required("source", source).and_then(|value| source::read(value, report));
    let window = window::read(root.value("window").unwrap_or_default(), report);
    let encoder = read_encoder(&mut root, holds_packets, report);
    let delivery = root.value("delivery").unwrap_or_default();
    let delivery_keys = value::keys_of(delivery.as_ref());
    let delivery = delivery::read(delivery, name.as_deref().ok(), follows, report);
    let sinks = root.value("sinks");
    let sinks = root.required("sinks", sinks).and_then(|value| sink::read_all(value, report));
    let dead_letters = sink::read_dead_letters(root.value("dead_letters").unwrap_or_default(), report);
    let sections = rules::Sections {
        source: source.as_ref().ok(),
        window: window.as_ref().ok(),
        delivery: delivery.as_ref().ok(),
        delivery_keys: &delivery_keys,
        sinks: sinks.as_deref().unwrap_or_default(),
        dead_letters: dead_letters.as_ref().ok().and_then(Option::as_ref),
    };
    rules::check(&sections, report);
    let declared = Declared {
        name: name?,
        source: source?,
        window: window?,
        encoder: encoder?,
        delivery: delivery?,
        sinks: sinks?.into_iter().collect::<Result<_, _>>()?,
        dead_letters: dead_letters?,
    };
    Ok(declared)
}

fn read_encoder(
    root: &mut Section<'_>,
    holds_packets: bool,
    report: &Report<'_>,
) -> Result<Option<EncoderConfig>, Refused> {
    let encoder = root.value("encoder");
    match (holds_packets, &encoder) {
        (true, Ok(Some(_))) => {
            Err(root.refuse("encoder", "the source holds packets, which are decoded: leave it out"))
        }
        (true, _) => Ok(None),
        (false, _) => {
            root.required("encoder", encoder).and_then(|value| encoder::read(value, report)).map(Some)
        }
    }
}

fn checked_name(name: String, report: &Report<'_>) -> Result<String, Refused> {
    if section::is_label(&name) { Ok(name) } else { Err(report.refuse("name", section::NOT_A_LABEL)) }
}

#[cfg(test)]
mod tests;
