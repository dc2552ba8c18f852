//! `[[sinks]]` and `[dead_letters]`: where packets and refused inputs go.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use super::kafka::{self, KafkaSinkConfig};
use super::section::{Kind, Positive, Refused, Report, Section, read_kind};
use super::value::Value;
use crate::sink::{PathTemplate, Roll, SyncPolicy};

/// A sink's type and its options.
#[derive(Clone, Debug, PartialEq)]
pub enum SinkConfig {
    /// `file`: packets in a `.rvl` file.
    File(FileSinkConfig),
    /// `mirror`: decodes the packets again and measures how faithful they are.
    Mirror(MirrorSinkConfig),
    /// `stdout`: a line for each packet.
    Stdout(StdoutSinkConfig),
    /// `kafka`: messages in a topic.
    Kafka(Box<KafkaSinkConfig>),
}

/// Options of the `file` sink.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSinkConfig {
    /// The file to write, or what the names of segments are made of.
    pub path: PathTemplate,
    /// When the next segment begins.
    pub roll: Roll,
    /// When what was written is forced to disk; none for what fits the source.
    pub sync: Option<SyncPolicy>,
    /// Segments that grow at the same time, at most.
    pub max_open_segments: NonZeroUsize,
}

/// Options of the `mirror` sink.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorSinkConfig {
    /// The largest PRD that a run may show, in percent.
    pub max_prd_percent: Option<Positive>,
    /// What a larger one means.
    pub on_violation: OnViolation,
}

/// What becomes of a run whose fidelity is worse than promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// It is reported.
    Log,
    /// It is reported, and the run ends with exit code 1.
    Fail,
}

/// Options of the `stdout` sink.
#[derive(Clone, Debug, PartialEq)]
pub struct StdoutSinkConfig {
    /// What a line looks like.
    pub format: StdoutFormat,
}

/// What the `stdout` sink writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StdoutFormat {
    /// One JSON object per packet and line.
    Json,
}

/// Where inputs that cannot be used are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum DeadLetterConfig {
    /// In a file of JSON lines.
    File {
        /// The file.
        path: PathBuf,
    },
    /// In a Kafka topic of the source's brokers.
    Topic {
        /// The topic.
        topic: String,
    },
}

pub(super) const KINDS: &[Kind<SinkConfig>] = &[
    Kind {
        name: "file",
        keys: &["type", "path", "roll_bytes", "roll_secs", "roll_packets", "sync", "max_open_segments"],
        read: |section| read_file(section).map(SinkConfig::File),
    },
    Kind {
        name: "mirror",
        keys: &["type", "max_prd_percent", "on_violation"],
        read: |section| read_mirror(section).map(SinkConfig::Mirror),
    },
    Kind {
        name: "stdout",
        keys: &["type", "format"],
        read: |section| read_stdout(section).map(SinkConfig::Stdout),
    },
    Kind {
        name: "kafka",
        keys: kafka::SINK_KEYS,
        read: |section| kafka::read_sink(section).map(|sink| SinkConfig::Kafka(Box::new(sink))),
    },
];

pub(super) const DEAD_LETTER_KEYS: &[&str] = &["path", "topic"];

/// The sinks one by one: what is wrong with one leaves the others to be checked against each other.
pub(super) fn read_all(
    value: Value,
    report: &Report<'_>,
) -> Result<Vec<Result<SinkConfig, Refused>>, Refused> {
    let items = match value {
        Value::Array(items) => items,
        other => {
            let found = other.describe();
            return Err(report.refuse("sinks", format!("expected [[sinks]] tables, found {found}")));
        }
    };
    if items.is_empty() {
        return Err(report.refuse("sinks", "a pipeline needs at least one sink"));
    }
    let items = items.into_iter().enumerate();
    Ok(items.map(|(i, item)| read_kind(&format!("sinks[{i}]"), item, KINDS, report)).collect())
}

pub(super) fn read_dead_letters(
    value: Option<Value>,
    report: &Report<'_>,
) -> Result<Option<DeadLetterConfig>, Refused> {
    let Some(value) = value else { return Ok(None) };
    let mut section = Section::open("dead_letters", value, DEAD_LETTER_KEYS, report)?;
    let path = section.path("path");
    let topic = kafka::read_topic_name(&mut section, "topic");
    match (path?, topic?) {
        (Some(path), None) => Ok(Some(DeadLetterConfig::File { path })),
        (None, Some(topic)) => Ok(Some(DeadLetterConfig::Topic { topic })),
        (None, None) => {
            Err(report
                .refuse("dead_letters", "says not where: give 'path', a file, or 'topic', a Kafka topic"))
        }
        (Some(_), Some(_)) => {
            Err(section.refuse("topic", "they go to one place: leave 'path' or 'topic' out"))
        }
    }
}

fn read_file(section: &mut Section<'_>) -> Result<FileSinkConfig, Refused> {
    let path = read_template(section);
    let roll = read_roll(section);
    let sync = section.choice(
        "sync",
        &[
            ("checkpoint", SyncPolicy::Checkpoint),
            ("segment", SyncPolicy::Segment),
            ("never", SyncPolicy::Never),
        ],
    );
    let max_open_segments = section.count_or("max_open_segments", 1..=65_536, 256);
    let (path, roll) = (path?, roll?);
    if roll != Roll::default() && !path.tells_segments_apart() {
        return Err(section.refuse(
            "path",
            "gives every segment the same name; put {number:06} or {start:%Y-%m-%dT%H} into it, or leave the roll_ keys out",
        ));
    }
    Ok(FileSinkConfig { path, roll, sync: sync?, max_open_segments: max_open_segments? })
}

fn read_template(section: &mut Section<'_>) -> Result<PathTemplate, Refused> {
    let path = section.path("path");
    let path = section.required("path", path)?;
    let text = path.to_str().unwrap_or_default();
    if text.ends_with('/') {
        return Err(section.refuse("path", "is a folder: name a file in it"));
    }
    PathTemplate::parse(text).map_err(|message| section.refuse("path", message))
}

fn read_roll(section: &mut Section<'_>) -> Result<Roll, Refused> {
    let mut limit = |key, most| {
        let count = section.count(key, 1..=most)?;
        Ok(count.and_then(|count| NonZeroU64::new(count.get() as u64)))
    };
    let bytes = limit("roll_bytes", 1 << 50);
    let secs = limit("roll_secs", 366 * 86_400);
    let packets = limit("roll_packets", 1 << 40);
    Ok(Roll { bytes: bytes?, secs: secs?, packets: packets? })
}

fn read_mirror(section: &mut Section<'_>) -> Result<MirrorSinkConfig, Refused> {
    let max_prd_percent = section.positive("max_prd_percent");
    let on_violation =
        section.choice("on_violation", &[("log", OnViolation::Log), ("fail", OnViolation::Fail)]);
    if let (Ok(None), Ok(Some(_))) = (&max_prd_percent, &on_violation) {
        return Err(section.refuse("on_violation", "means nothing without max_prd_percent"));
    }
    Ok(MirrorSinkConfig {
        max_prd_percent: max_prd_percent?,
        on_violation: on_violation?.unwrap_or(OnViolation::Log),
    })
}

fn read_stdout(section: &mut Section<'_>) -> Result<StdoutSinkConfig, Refused> {
    let format = section.choice("format", &[("json", StdoutFormat::Json)])?;
    Ok(StdoutSinkConfig { format: format.unwrap_or(StdoutFormat::Json) })
}
