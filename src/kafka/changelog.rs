//! The changelog of open windows: a compacted topic that has, in the partition of the source's number, the latest
//! state of each stream.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::admin::{TopicPlan, ensure_topic};
use crate::signal::{Origin, StreamKey};

/// The key of a stream's record: unique, since no topic's name holds a slash.
pub(crate) fn record_key(topic: &str, key: &StreamKey) -> String {
    format!("{topic}/{key}")
}

/// The topic that a record's stream is read from.
pub(crate) fn topic_of(record_key: &[u8]) -> Option<&str> {
    let end = record_key.iter().position(|byte| *byte == b'/')?;
    std::str::from_utf8(record_key.get(..end)?).ok()
}

/// The partition of an origin's records, and its topic.
pub(crate) fn place(origin: &Origin) -> Option<(&str, i32)> {
    match origin {
        Origin::Partition { topic, partition } => Some((topic, *partition)),
        _ => None,
    }
}

/// Has the changelog exist with at least `partitions`.
pub(crate) fn ensure(client: &ClientConfig, topic: &str, partitions: i32) -> Result<(), KafkaError> {
    let config = vec![
        ("cleanup.policy", "compact"),
        // A restart reads the whole of a partition: keep it short.
        ("segment.bytes", "67108864"),
        ("min.cleanable.dirty.ratio", "0.3"),
    ];
    ensure_topic(client, &TopicPlan { name: topic, partitions, replication_factor: None, config })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_its_topic_whatever_the_key_holds() {
        for key in ["a", "", "x/y", "/"] {
            let record = record_key("sensors.v1", &StreamKey::new(key));
            assert_eq!(topic_of(record.as_bytes()), Some("sensors.v1"));
        }
        assert_eq!(topic_of(b"no slash"), None);
        assert_eq!(topic_of(&[0xff, b'/']), None);
    }
}
