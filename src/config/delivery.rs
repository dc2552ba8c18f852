//! `[delivery]`: what is promised of a packet, and when positions are committed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::kafka::read_topic_name;
use super::section::{Refused, Report, Section};
use super::value::Value;

const HOUR_MS: usize = 60 * 60 * 1000;
const MAX_COMMIT_FRAMES: usize = 1 << 30;
const MAX_COMMIT_BYTES: usize = 1 << 30;

const DEFAULT_COMMIT_INTERVAL_MS: usize = 500;
/// What Kafka Streams takes: long enough for a broker's hiccup, short enough that what a killed process left
/// open does not hold up readers for a minute.
const DEFAULT_TRANSACTION_TIMEOUT_MS: usize = 10_000;
/// librdkafka's least.
const MIN_TRANSACTION_TIMEOUT_MS: usize = 1000;

/// What is promised of every frame, and when positions are committed.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryConfig {
    /// What a crash may do to a frame.
    pub guarantee: Guarantee,
    /// Positions are committed this often, at least.
    pub commit_interval: Duration,
    /// Positions are committed once this many frames have left since the last time; none: however many.
    pub commit_frames: Option<NonZeroUsize>,
    /// Positions are committed once this many bytes of packets have left since the last time; none: however
    /// many.
    pub commit_bytes: Option<NonZeroUsize>,
    /// Where open windows are kept across restarts.
    pub state: StateStore,
    /// Names this process among those that run the same pipeline, the same across restarts; none: the host's
    /// name and a number.
    pub instance: Option<String>,
    /// How long a transaction may stay open before the brokers abort it.
    pub transaction_timeout: Duration,
}

/// What a crash may do to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// It is not lost; it may be repeated.
    AtLeastOnce,
    /// It is neither lost nor repeated.
    ExactlyOnce,
}

/// Where open windows are kept across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateStore {
    /// A compacted topic of the source's brokers.
    Changelog {
        /// The topic.
        topic: String,
    },
    /// Nowhere: positions are committed up to the first sample of an open frame only, which takes partitions
    /// with one stream each.
    None,
    /// A file, for a source that follows files.
    File {
        /// The file.
        path: PathBuf,
    },
}

pub(super) const KEYS: &[&str] = &[
    "guarantee",
    "commit_interval_ms",
    "commit_frames",
    "commit_bytes",
    "state",
    "state_topic",
    "state_path",
    "instance",
    "transaction_timeout_ms",
];

/// Reads the section of the pipeline `name`, which its state is named after; `follows` if it follows files.
pub(super) fn read(
    value: Option<Value>,
    name: Option<&str>,
    follows: bool,
    report: &Report<'_>,
) -> Result<DeliveryConfig, Refused> {
    let value = value.unwrap_or_else(|| Value::Table(Default::default()));
    let mut section = Section::open("delivery", value, KEYS, report)?;
    let guarantees = [("at_least_once", Guarantee::AtLeastOnce), ("exactly_once", Guarantee::ExactlyOnce)];
    let guarantee = section.choice("guarantee", &guarantees);
    let commit_interval_ms = section.count_or("commit_interval_ms", 1..=HOUR_MS, DEFAULT_COMMIT_INTERVAL_MS);
    let commit_frames = section.count("commit_frames", 1..=MAX_COMMIT_FRAMES);
    let commit_bytes = section.count("commit_bytes", 1..=MAX_COMMIT_BYTES);
    let state = read_state(&mut section, name, follows);
    let instance = section.label("instance");
    let timeout_ms = section.count("transaction_timeout_ms", MIN_TRANSACTION_TIMEOUT_MS..=HOUR_MS);
    let guarantee = guarantee?.unwrap_or(Guarantee::AtLeastOnce);
    if let (Guarantee::AtLeastOnce, Ok(Some(_))) = (guarantee, &timeout_ms) {
        return Err(section.refuse(
            "transaction_timeout_ms",
            "means nothing without guarantee = \"exactly_once\": nothing else is written in transactions",
        ));
    }
    let timeout_ms = timeout_ms?.map_or(DEFAULT_TRANSACTION_TIMEOUT_MS, NonZeroUsize::get);
    Ok(DeliveryConfig {
        guarantee,
        commit_interval: Duration::from_millis(commit_interval_ms?.get() as u64),
        commit_frames: commit_frames?,
        commit_bytes: commit_bytes?,
        state: state?,
        instance: instance?,
        transaction_timeout: Duration::from_millis(timeout_ms as u64),
    })
}

fn read_state(section: &mut Section<'_>, name: Option<&str>, follows: bool) -> Result<StateStore, Refused> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Changelog,
        None,
        File,
    }
    let kinds = [("changelog", Kind::Changelog), ("none", Kind::None), ("file", Kind::File)];
    let kind = section.choice("state", &kinds);
    let topic = read_topic_name(section, "state_topic");
    let path = section.path("state_path");
    let (kind, topic, path) = (kind?, topic?, path?);
    let default = if follows { Kind::File } else { Kind::Changelog };
    match kind.unwrap_or(default) {
        Kind::File if !follows => Err(section.refuse(
            "state",
            "\"file\" is for a source of type \"file\" with follow = true; \"changelog\" or \"none\"",
        )),
        Kind::Changelog | Kind::None if follows => Err(section.refuse(
            "state",
            "a source that follows files keeps its state in a file: \"file\", or leave it out",
        )),
        _ if follows && topic.is_some() => {
            Err(section
                .refuse("state_topic", "only for a source of type \"kafka\"; state_path names the file"))
        }
        Kind::Changelog | Kind::None if path.is_some() => Err(section.refuse(
            "state_path",
            "only for a source of type \"file\" with follow = true; state_topic names the topic",
        )),
        Kind::None if topic.is_some() => {
            Err(section.refuse("state_topic", "means nothing with state = \"none\": leave one of them out"))
        }
        Kind::None => Ok(StateStore::None),
        Kind::Changelog => match topic {
            Some(topic) => Ok(StateStore::Changelog { topic }),
            // Without a name the file is refused already.
            None => Ok(StateStore::Changelog { topic: format!("{}-windows", name.ok_or(Refused)?) }),
        },
        Kind::File => match path {
            Some(path) => Ok(StateStore::File { path }),
            None => Ok(StateStore::File { path: format!("state/{}.state", name.ok_or(Refused)?).into() }),
        },
    }
}
