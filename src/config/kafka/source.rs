//! `[source]`, type `kafka`.

use std::path::PathBuf;

use super::options::Side;
use super::{KafkaClientConfig, check_topic_name, read_client, read_topic_name};
use crate::config::decoding;
use crate::config::interpolate::Expanded;
use crate::config::section::{Refused, Section};
use crate::config::value::Value;
use crate::source::decoding::DecodingOptions;

/// Where the models are that packets name, unless it is said.
const DEFAULT_MODELS: &str = "models";

/// Topics to read as a member of a consumer group.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSourceConfig {
    /// The cluster.
    pub client: KafkaClientConfig,
    /// Names of topics, and regular expressions that start with `^`; at least one, none twice.
    pub topics: Vec<String>,
    /// The consumer group that shares the topics' partitions among its members.
    pub group_id: String,
    /// Names this member across restarts; none: each start is a new member, unless the pipeline's instance
    /// names it.
    pub group_instance_id: Option<String>,
    /// Where a partition is read from that the group has no position of.
    pub auto_offset_reset: AutoOffsetReset,
    /// How members share partitions.
    pub partition_assignment_strategy: AssignmentStrategy,
    /// The header that holds the stream key; none: the message key does.
    pub key_header: Option<String>,
    /// What the messages hold.
    pub decoding: SourceDecoding,
}

impl KafkaSourceConfig {
    /// True for the group protocol in which brokers assign the partitions (KIP-848).
    pub fn brokers_assign(&self) -> bool {
        brokers_assign(&self.client)
    }
}

fn brokers_assign(client: &KafkaClientConfig) -> bool {
    client.client_options.get("group.protocol").is_some_and(|protocol| protocol == "consumer")
}

/// Where a partition is read from that the group has no position of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoOffsetReset {
    /// From its first message.
    Earliest,
    /// From the next message on.
    Latest,
    /// Not at all: it is an error.
    Error,
}

impl AutoOffsetReset {
    /// The word for it, librdkafka's and the pipeline file's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
            Self::Error => "error",
        }
    }
}

/// How the members of a group share partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignmentStrategy {
    /// `range`: neighbouring partitions of each topic.
    Range,
    /// `roundrobin`: partitions in turn.
    RoundRobin,
    /// `range,roundrobin`: `range` where every member knows it.
    RangeRoundRobin,
    /// `cooperative-sticky`: a change moves as few partitions as it can, and the others are read on.
    CooperativeSticky,
}

impl AssignmentStrategy {
    /// The word for it, librdkafka's and the pipeline file's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::RangeRoundRobin => "range,roundrobin",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }
}

/// What the messages of a topic hold.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceDecoding {
    /// Samples, to be windowed and encoded.
    Samples(DecodingOptions),
    /// Packets, to be turned back into samples.
    Packets(PacketsDecoding),
}

/// Where the models are that packets name.
#[derive(Clone, Debug, PartialEq)]
pub struct PacketsDecoding {
    /// Model directories, or directories of such; looked through in this order.
    pub models: Vec<PathBuf>,
    /// A topic of the source's brokers to which model directories are published.
    pub model_topic: Option<String>,
}

/// True for a topic that is a regular expression.
pub fn is_topic_pattern(topic: &str) -> bool {
    topic.starts_with('^')
}

pub(in crate::config) const SOURCE_KEYS: &[&str] = &[
    "type",
    "brokers",
    "topics",
    "group_id",
    "group_instance_id",
    "auto_offset_reset",
    "partition_assignment_strategy",
    "key_header",
    "client_options",
    "tls",
    "sasl",
    "decoding",
];

pub(in crate::config) const PACKETS_KEYS: &[&str] = &["codec", "models", "model_topic"];

pub(in crate::config) fn read_source(section: &mut Section<'_>) -> Result<KafkaSourceConfig, Refused> {
    let client = read_client(section, Side::Source);
    let topics = read_topics(section);
    let group_id = section.word("group_id");
    let group_id = section.required("group_id", group_id);
    let group_instance_id = section.label("group_instance_id");
    let resets = [AutoOffsetReset::Earliest, AutoOffsetReset::Latest, AutoOffsetReset::Error];
    let auto_offset_reset = section.choice("auto_offset_reset", &resets.map(|reset| (reset.as_str(), reset)));
    let strategies = [
        AssignmentStrategy::Range,
        AssignmentStrategy::RoundRobin,
        AssignmentStrategy::RangeRoundRobin,
        AssignmentStrategy::CooperativeSticky,
    ];
    let strategy = section
        .choice("partition_assignment_strategy", &strategies.map(|strategy| (strategy.as_str(), strategy)));
    let key_header = section.word("key_header");
    let decoding = section.value("decoding");
    let decoding = section.required("decoding", decoding).and_then(|value| read_decoding(section, value));
    if let Ok(client) = &client {
        check_timeouts(section, client);
        if brokers_assign(client) && matches!(strategy, Ok(Some(_))) {
            section.refuse(
                "partition_assignment_strategy",
                "with group.protocol = \"consumer\" the brokers assign partitions: leave it out; \
                 client_options takes group.remote.assignor",
            );
        }
    }
    Ok(KafkaSourceConfig {
        client: client?,
        topics: topics?,
        group_id: group_id?,
        group_instance_id: group_instance_id?,
        auto_offset_reset: auto_offset_reset?.unwrap_or(AutoOffsetReset::Earliest),
        partition_assignment_strategy: strategy?.unwrap_or(AssignmentStrategy::RangeRoundRobin),
        key_header: key_header?,
        decoding: decoding?,
    })
}

/// What librdkafka would refuse only once a client is made.
fn check_timeouts(section: &Section<'_>, client: &KafkaClientConfig) {
    if brokers_assign(client) {
        for name in ["session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type"] {
            if client.client_options.contains_key(name) {
                section.refuse(
                    "client_options",
                    format!("{name}: with group.protocol = \"consumer\" the brokers set it; leave it out"),
                );
            }
        }
        return;
    }
    let session_ms = client.number_option("session.timeout.ms", DEFAULT_SESSION_TIMEOUT_MS);
    let poll_ms = client.number_option("max.poll.interval.ms", DEFAULT_MAX_POLL_INTERVAL_MS);
    if poll_ms < session_ms {
        section.refuse(
            "client_options",
            format!(
                "max.poll.interval.ms is {poll_ms}, but has to be at least session.timeout.ms, {session_ms}"
            ),
        );
    }
}

/// `session.timeout.ms` where it is not given.
pub(crate) const DEFAULT_SESSION_TIMEOUT_MS: u64 = 10_000;

/// librdkafka's `max.poll.interval.ms` where it is not given.
pub(in crate::config) const DEFAULT_MAX_POLL_INTERVAL_MS: u64 = 300_000;

fn read_topics(section: &mut Section<'_>) -> Result<Vec<String>, Refused> {
    let topics = section.texts("topics");
    let topics = section.required("topics", topics)?;
    if topics.is_empty() {
        return Err(section.refuse("topics", "is empty: name a topic"));
    }
    let mut refused = false;
    for (i, topic) in topics.iter().enumerate() {
        let earlier = topics.iter().take(i).position(|earlier| earlier == topic);
        let problem = match (earlier, topic.strip_prefix('^')) {
            (Some(earlier), _) => Some(format!("the same topic as topics[{earlier}]")),
            (None, Some("")) => Some("an empty regular expression; \"^.\" stands for every topic".to_owned()),
            (None, Some(pattern)) if pattern.contains(char::is_control) => {
                Some("a control character in a regular expression: no topic's name has one".to_owned())
            }
            (None, Some(_)) => None,
            (None, None) => check_topic_name(topic)
                .err()
                .map(|error| format!("{error}; a regular expression starts with '^'")),
        };
        if let Some(problem) = problem {
            section.refuse_item("topics", i, problem);
            refused = true;
        }
    }
    if refused { Err(Refused) } else { Ok(topics) }
}

fn read_decoding(section: &Section<'_>, value: Value) -> Result<SourceDecoding, Refused> {
    match value {
        Value::Text(Expanded { text, .. }) if text == "packets" => {
            Ok(SourceDecoding::Packets(PacketsDecoding { models: default_models(), model_topic: None }))
        }
        value @ Value::Table(_) => {
            let path = section.key("decoding");
            if is_packets(&value) {
                let mut table = Section::open(&path, value, PACKETS_KEYS, section.report())?;
                return read_packets(&mut table).map(SourceDecoding::Packets);
            }
            decoding::read(&path, value, section.report()).map(SourceDecoding::Samples)
        }
        Value::Refused => Err(Refused),
        other => {
            let message = format!("expected \"packets\" or a table with a codec, found {}", other.describe());
            Err(section.refuse("decoding", message))
        }
    }
}

fn read_packets(section: &mut Section<'_>) -> Result<PacketsDecoding, Refused> {
    let _codec = section.text("codec");
    let models = section.texts("models").and_then(|models| match models {
        Some(models) if models.is_empty() => Err(section.refuse("models", "is empty: name a directory")),
        models => Ok(models),
    });
    let model_topic = read_topic_name(section, "model_topic");
    let models = models?.map(|models| models.into_iter().map(PathBuf::from).collect());
    Ok(PacketsDecoding { models: models.unwrap_or_else(default_models), model_topic: model_topic? })
}

fn default_models() -> Vec<PathBuf> {
    vec![PathBuf::from(DEFAULT_MODELS)]
}

/// True for a source, read or not, whose messages hold packets.
pub(in crate::config) fn holds_packets(source: Option<&Value>) -> bool {
    match source {
        Some(Value::Table(source)) => source.get("decoding").is_some_and(is_packets),
        _ => false,
    }
}

fn is_packets(decoding: &Value) -> bool {
    match decoding {
        Value::Text(Expanded { text, .. }) => text == "packets",
        Value::Table(table) => {
            matches!(table.get("codec"), Some(Value::Text(Expanded { text, .. })) if text == "packets")
        }
        _ => false,
    }
}
