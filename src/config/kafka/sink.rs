//! `[[sinks]]`, type `kafka`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::options::Side;
use super::{KafkaClientConfig, TopicTemplate, read_client, read_topic_name};
use crate::config::section::{Refused, Section};

/// Kafka's own bound is far off; one slip should not make a cluster unusable.
const MAX_PARTITIONS: usize = 10_000;
const MAX_REPLICATION_FACTOR: usize = 100;

/// A topic to write to.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSinkConfig {
    /// The cluster.
    pub client: KafkaClientConfig,
    /// The topic.
    pub topic: TopicTemplate,
    /// What brokers and the network carry compressed once more.
    pub compression: Compression,
    /// How to create the topic where it does not exist; none: it has to exist.
    pub create_topic: Option<CreateTopicConfig>,
    /// A compacted topic to which the model is published, so that readers of the packets can decode them.
    pub model_topic: Option<String>,
    /// What a message holds.
    pub encoding: KafkaEncoding,
}

/// How batches of messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The word for it, librdkafka's and the pipeline file's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// How to create a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTopicConfig {
    /// Its partitions.
    pub partitions: NonZeroUsize,
    /// Brokers that keep each partition.
    pub replication_factor: NonZeroUsize,
    /// Its settings (`retention.ms`).
    pub config: BTreeMap<String, String>,
}

/// What the messages of a sink hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaEncoding {
    /// Packets.
    Packets,
    /// Samples, as the bytes that they were before they were encoded.
    Raw,
    /// Samples, as JSON.
    Json,
}

pub(in crate::config) const SINK_KEYS: &[&str] = &[
    "type",
    "brokers",
    "topic",
    "compression",
    "client_options",
    "tls",
    "sasl",
    "create_topic",
    "model_topic",
    "encoding",
];

pub(in crate::config) const CREATE_TOPIC_KEYS: &[&str] = &["partitions", "replication_factor", "config"];

pub(in crate::config) fn read_sink(section: &mut Section<'_>) -> Result<KafkaSinkConfig, Refused> {
    let client = read_client(section, Side::Sink);
    let topic = read_template(section);
    let compressions =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let compression = section.choice("compression", &compressions.map(|kind| (kind.as_str(), kind)));
    let create_topic = read_create_topic(section);
    let model_topic = read_topic_name(section, "model_topic");
    let encodings =
        [("packets", KafkaEncoding::Packets), ("raw", KafkaEncoding::Raw), ("json", KafkaEncoding::Json)];
    let encoding = section.choice("encoding", &encodings);
    Ok(KafkaSinkConfig {
        client: client?,
        topic: topic?,
        compression: compression?.unwrap_or(Compression::None),
        create_topic: create_topic?,
        model_topic: model_topic?,
        encoding: encoding?.unwrap_or(KafkaEncoding::Packets),
    })
}

fn read_template(section: &mut Section<'_>) -> Result<TopicTemplate, Refused> {
    let topic = section.text("topic");
    let topic = section.required("topic", topic)?;
    TopicTemplate::parse(&topic).map_err(|message| section.refuse("topic", message))
}

fn read_create_topic(section: &mut Section<'_>) -> Result<Option<CreateTopicConfig>, Refused> {
    let Some(mut table) = section.table("create_topic", CREATE_TOPIC_KEYS)? else { return Ok(None) };
    let partitions = table.count("partitions", 1..=MAX_PARTITIONS);
    let partitions = table.required("partitions", partitions);
    let replication_factor = table.count_or("replication_factor", 1..=MAX_REPLICATION_FACTOR, 1);
    let config = table.table_of_texts("config");
    Ok(Some(CreateTopicConfig {
        partitions: partitions?,
        replication_factor: replication_factor?,
        config: config?.unwrap_or_default(),
    }))
}
