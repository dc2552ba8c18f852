//! Which topic a packet goes to, and how it stands in a message.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rdkafka::config::ClientConfig;

use crate::config::{KafkaEncoding, TopicTemplate};
use crate::kafka::admin::{TopicPlan, ensure_topic};
use crate::kafka::producer::{Record, told};
use crate::packet::PACKET_VERSION;
use crate::signal::{DeadLetter, Origin, Position, StreamIndex, StreamInfo};
use crate::sink::{Outgoing, SampleMessage, SinkError};

/// The value of the `content-type` header of packets.
const PACKET_CONTENT_TYPE: &str = "application/vnd.rivulet.packet";
/// The value of the `content-type` header of samples that are nothing but their bytes.
const RAW_CONTENT_TYPE: &str = "application/vnd.rivulet.samples";
/// Of a dead letter's message, so much is kept: brokers refuse what is larger than a megabyte.
const MAX_KEPT_BYTES: usize = 900_000;

/// A topic that is made where it is missing.
#[derive(Clone, Debug)]
pub(crate) struct CreateTopic {
    /// Who makes it.
    pub(crate) client: ClientConfig,
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i32,
    pub(crate) config: Vec<(String, String)>,
}

impl CreateTopic {
    /// Makes the topic, unless it is there.
    pub(crate) fn ensure(&self, name: &str) -> Result<(), SinkError> {
        let config = self.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let plan = TopicPlan {
            name,
            partitions: self.partitions,
            replication_factor: Some(self.replication_factor),
            config,
        };
        ensure_topic(&self.client, &plan)
            .map_err(|error| SinkError::Unavailable(format!("topic {name} cannot be made: {}", told(&error))))
    }
}

/// Where the packets of each stream go.
pub(crate) struct Topics {
    template: TopicTemplate,
    encoding: KafkaEncoding,
    create: Option<CreateTopic>,
    made: HashSet<String>,
    streams: HashMap<StreamIndex, Target>,
}

struct Target {
    topic: Arc<str>,
    key: String,
    source: String,
}

impl Topics {
    /// Packets go to the topic that `template` gives: `{topic}` stands for the topic of the source, `{key}` for the
    /// stream's key, with `_` for what no topic's name can hold.
    pub(crate) fn new(template: TopicTemplate, create: Option<CreateTopic>) -> Self {
        let encoding = KafkaEncoding::Packets;
        Self { template, encoding, create, made: HashSet::new(), streams: HashMap::new() }
    }

    /// Messages of samples in this encoding go there, others do not.
    pub(crate) fn of_samples(self, encoding: KafkaEncoding) -> Self {
        Self { encoding, ..self }
    }

    /// Adds a stream.
    pub(crate) fn add(
        &mut self,
        stream: StreamIndex,
        info: &StreamInfo,
        origin: &Origin,
    ) -> Result<(), SinkError> {
        let topic = name(&self.template, info.key.as_str(), origin)?;
        if let Some(create) = &self.create
            && !self.made.contains(&topic)
        {
            create.ensure(&topic)?;
            self.made.insert(topic.clone());
        }
        let target = Target { topic: topic.into(), key: info.key.to_string(), source: origin.to_string() };
        self.streams.insert(stream, target);
        Ok(())
    }

    pub(crate) fn remove(&mut self, stream: StreamIndex) {
        self.streams.remove(&stream);
    }

    /// Gives a packet's message to `send`.
    pub(crate) fn with_record(
        &self,
        outgoing: &Outgoing,
        send: impl FnOnce(Record<'_>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let target = self.streams.get(&outgoing.stream).ok_or(SinkError::UnknownStream(outgoing.stream))?;
        let header = &outgoing.packet.header;
        let (model, first, version) =
            (header.model.to_string(), header.first_frame.to_string(), PACKET_VERSION.to_string());
        send(Record {
            topic: &target.topic,
            partition: None,
            key: Some(target.key.as_bytes()),
            value: &outgoing.bytes,
            headers: &[
                ("content-type", PACKET_CONTENT_TYPE.as_bytes()),
                ("rivulet-model", model.as_bytes()),
                ("rivulet-first-frame", first.as_bytes()),
                ("rivulet-version", version.as_bytes()),
                ("rivulet-source", target.source.as_bytes()),
            ],
        })
    }
}

impl Topics {
    /// Gives a message of samples to `send`, if it is in the encoding of these topics.
    pub(crate) fn with_samples(
        &self,
        message: &SampleMessage,
        send: impl FnOnce(Record<'_>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        if message.encoding != self.encoding {
            return Ok(());
        }
        let target = self.streams.get(&message.stream).ok_or(SinkError::UnknownStream(message.stream))?;
        let content_type = match message.encoding {
            KafkaEncoding::Json => "application/json",
            KafkaEncoding::Raw | KafkaEncoding::Packets => RAW_CONTENT_TYPE,
        };
        let first = message.first_frame.to_string();
        let (sample_type, channels) = (message.sample_type.to_string(), message.channels.to_string());
        let rate = message.sample_rate_hz.to_string();
        let time = message.time_ns.map(|time_ns| time_ns.to_string());
        let mut headers = vec![
            ("content-type", content_type.as_bytes()),
            ("rivulet-first-frame", first.as_bytes()),
            ("rivulet-source", message.source.as_bytes()),
            ("rivulet-sample-type", sample_type.as_bytes()),
            ("rivulet-channels", channels.as_bytes()),
            ("rivulet-sample-rate-hz", rate.as_bytes()),
        ];
        headers.extend(time.as_ref().map(|time| ("rivulet-time-ns", time.as_bytes())));
        send(Record {
            topic: &target.topic,
            partition: None,
            key: Some(target.key.as_bytes()),
            value: &message.value,
            headers: &headers,
        })
    }
}

/// The topic that a template gives.
fn name(template: &TopicTemplate, key: &str, origin: &Origin) -> Result<String, SinkError> {
    let topic = match origin {
        Origin::Partition { topic, .. } | Origin::Replay { topic } => topic,
        Origin::Whole | Origin::File { .. } | Origin::Port { .. } => "",
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let key: String = key.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    template.expand(topic, &key).map_err(|error| SinkError::Refused(error.to_string()))
}

/// The topic of dead letters.
pub(crate) struct DeadLetterTopic {
    pub(crate) topic: String,
}

impl DeadLetterTopic {
    /// Gives a letter's message to `send`: the message as it was, and in the headers where it stood and why it cannot
    /// be used.
    pub(crate) fn with_record(
        &self,
        letter: &DeadLetter,
        send: impl FnOnce(Record<'_>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let (source, partition) = letter.origin.rsplit_once('/').unwrap_or((&letter.origin, ""));
        let offset = match letter.position {
            Position::Offset(offset) => offset.to_string(),
            Position::Byte(byte) => byte.to_string(),
            Position::None => String::new(),
        };
        let (stage, samples) = (letter.stage.to_string(), letter.samples.to_string());
        let message = letter.message.as_deref();
        let value = message.map_or(&[][..], |message| &message.value);
        let kept = value.get(..MAX_KEPT_BYTES).unwrap_or(value);
        let cut = if kept.len() < value.len() { "true" } else { "false" };
        send(Record {
            topic: &self.topic,
            partition: None,
            key: message.and_then(|message| message.key.as_deref()),
            value: kept,
            headers: &[
                ("rivulet-stage", stage.as_bytes()),
                ("rivulet-topic", source.as_bytes()),
                ("rivulet-partition", partition.as_bytes()),
                ("rivulet-offset", offset.as_bytes()),
                ("rivulet-reason", letter.reason.as_bytes()),
                ("rivulet-samples", samples.as_bytes()),
                ("rivulet-truncated", cut.as_bytes()),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_give_names_that_kafka_takes() {
        let origin = Origin::Partition { topic: "ward".into(), partition: 3 };
        let name = |template: &str, key: &str| name(&TopicTemplate::parse(template).unwrap(), key, &origin);
        assert_eq!(name("out", "k").unwrap(), "out");
        assert_eq!(name("{topic}.packets", "k").unwrap(), "ward.packets");
        assert_eq!(name("p.{key}", "bed 7/MLII").unwrap(), "p.bed_7_MLII");
        assert!(matches!(name("{key}", &"k".repeat(500)), Err(SinkError::Refused(_))));
    }

    #[test]
    fn samples_describe_themselves_and_go_where_their_encoding_does() {
        use crate::signal::{ChannelInfo, SampleType, StreamKey};
        let info = StreamInfo {
            key: StreamKey::new("bed-4"),
            sample_rate_hz: 0.5,
            sample_type: SampleType::I16,
            stored_bits: 16,
            channels: vec![ChannelInfo::unscaled("")],
        };
        let message = SampleMessage {
            stream: 3,
            encoding: KafkaEncoding::Raw,
            first_frame: 40,
            frames: 1,
            time_ns: Some(-5),
            sample_type: SampleType::I16,
            channels: 1,
            sample_rate_hz: 0.5,
            source: "ward/1".into(),
            arrival_ns: None,
            value: vec![1, 0],
        };
        let origin = Origin::Partition { topic: "packets".into(), partition: 3 };
        let topics = |encoding| {
            let template = TopicTemplate::parse("{topic}.out").unwrap();
            let mut topics = Topics::new(template, None).of_samples(encoding);
            topics.add(3, &info, &origin).unwrap();
            topics
        };
        let mut sent = Vec::new();
        let raw = topics(KafkaEncoding::Raw);
        raw.with_samples(&message, |record| {
            assert_eq!(
                (record.topic, record.key, record.value),
                ("packets.out", Some(&b"bed-4"[..]), &[1, 0][..])
            );
            sent.extend(
                record
                    .headers
                    .iter()
                    .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))),
            );
            Ok(())
        })
        .unwrap();
        assert_eq!(
            sent,
            [
                "content-type=application/vnd.rivulet.samples",
                "rivulet-first-frame=40",
                "rivulet-source=ward/1",
                "rivulet-sample-type=i16",
                "rivulet-channels=1",
                "rivulet-sample-rate-hz=0.5",
                "rivulet-time-ns=-5",
            ]
        );
        let json = topics(KafkaEncoding::Json);
        json.with_samples(&message, |_| panic!("another encoding")).unwrap();
        let unknown = SampleMessage { stream: 4, ..message };
        assert!(matches!(raw.with_samples(&unknown, |_| Ok(())), Err(SinkError::UnknownStream(4))));
    }

    #[test]
    fn a_letter_says_where_it_stood_and_keeps_its_message() {
        let letter = DeadLetter {
            stage: crate::signal::Stage::Source,
            origin: "ward/3".to_owned(),
            position: Position::Offset(17),
            reason: "empty".to_owned(),
            samples: 0,
            message: Some(Arc::new(crate::signal::Message { key: None, value: vec![7; MAX_KEPT_BYTES + 1] })),
        };
        let topic = DeadLetterTopic { topic: "letters".to_owned() };
        let sent = topic.with_record(&letter, |record| {
            let header = |name| record.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            assert_eq!(header("rivulet-topic"), Some(&b"ward"[..]));
            assert_eq!(header("rivulet-partition"), Some(&b"3"[..]));
            assert_eq!(header("rivulet-offset"), Some(&b"17"[..]));
            assert_eq!(header("rivulet-reason"), Some(&b"empty"[..]));
            assert_eq!(header("rivulet-truncated"), Some(&b"true"[..]));
            assert_eq!((record.key, record.value.len()), (None, MAX_KEPT_BYTES));
            Ok(())
        });
        sent.unwrap();
    }
}
