//! Pipelines from Kafka, to Kafka and between.

mod refusals;
mod rules;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A valid pipeline from Kafka to Kafka, one key on each line from line 1 on.
const KAFKA: &str = r#"name = "telemetry"
[source]
type = "kafka"
brokers = "a:9092"
topics = ["telemetry"]
group_id = "rivulet"
auto_offset_reset = "earliest"
[source.decoding]
codec = "raw"
sample_type = "s16le"
channels = 1
sample_rate_hz = 360
[encoder]
type = "rvq"
model = "m"
[delivery]
guarantee = "exactly_once"
[[sinks]]
type = "kafka"
brokers = "a:9092"
topic = "telemetry.packets"
"#;

/// The far end: packets to samples.
const PACKETS: &str = r#"name = "decoded"
[source]
type = "kafka"
brokers = "a:9092"
topics = ["telemetry.packets"]
group_id = "rivulet-decode"
decoding = "packets"
[[sinks]]
type = "kafka"
brokers = "a:9092"
topic = "telemetry.decoded"
encoding = "json"
"#;

fn replaced(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replace(old, new)
}

/// The one problem of a valid text with `old` replaced.
fn problem_of(text: &str, old: &str, new: &str) -> String {
    let found = problems(&replaced(text, old, new));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

fn refused(old: &str, new: &str) -> String {
    problem_of(KAFKA, old, new)
}

/// The valid pipeline with lines added to its source.
fn in_source(lines: &str) -> String {
    replaced(KAFKA, "group_id = \"rivulet\"", &format!("group_id = \"rivulet\"\n{lines}"))
}

/// The one problem of lines that start at line 7, in the source.
fn refused_in_source(lines: &str) -> String {
    let found = problems(&in_source(lines));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

/// The one problem of lines that start at line 22, in the sink.
fn refused_in_sink(lines: &str) -> String {
    let found = problems(&format!("{KAFKA}{lines}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

fn source_of(text: &str) -> KafkaSourceConfig {
    match parse(text).unwrap().source {
        SourceConfig::Kafka(source) => *source,
        other => panic!("{other:?}"),
    }
}

fn sink_of(text: &str) -> KafkaSinkConfig {
    let config = parse(text).unwrap();
    match &config.sinks[0] {
        SinkConfig::Kafka(sink) => (**sink).clone(),
        other => panic!("{other:?}"),
    }
}

fn plain_client() -> KafkaClientConfig {
    KafkaClientConfig { brokers: "a:9092".to_owned(), tls: None, sasl: None, client_options: BTreeMap::new() }
}

#[test]
fn what_is_left_out_has_its_default() {
    let source = source_of(KAFKA);
    assert_eq!(source.client, plain_client());
    assert_eq!(source.topics, ["telemetry"]);
    assert_eq!(source.group_id, "rivulet");
    assert_eq!(source.group_instance_id, None);
    assert_eq!(source.auto_offset_reset, AutoOffsetReset::Earliest);
    assert_eq!(source.partition_assignment_strategy, AssignmentStrategy::RangeRoundRobin);
    assert_eq!(source.key_header, None);
    assert!(matches!(source.decoding, SourceDecoding::Samples(_)));
    let sink = KafkaSinkConfig {
        client: plain_client(),
        topic: TopicTemplate::parse("telemetry.packets").unwrap(),
        compression: Compression::None,
        create_topic: None,
        model_topic: None,
        encoding: KafkaEncoding::Packets,
    };
    assert_eq!(sink_of(KAFKA), sink);
    let delivery = DeliveryConfig {
        guarantee: Guarantee::AtLeastOnce,
        commit_interval: Duration::from_millis(500),
        commit_frames: None,
        commit_bytes: None,
        state: StateStore::Changelog { topic: "telemetry-windows".to_owned() },
        instance: None,
        transaction_timeout: Duration::from_secs(10),
    };
    let without = replaced(KAFKA, "[delivery]\nguarantee = \"exactly_once\"\n", "");
    assert_eq!(parse(&without).unwrap().delivery, delivery);
    assert_eq!(
        parse(KAFKA).unwrap().delivery,
        DeliveryConfig { guarantee: Guarantee::ExactlyOnce, ..delivery }
    );
}

#[test]
fn what_is_given_arrives() {
    let text = r#"
        name = "all"
        dead_letters.topic = "refused"
        [source]
        type = "kafka"
        brokers = "a:9092, b"
        topics = ["one", "^two[0-9]+"]
        group_id = "g"
        group_instance_id = "g-1"
        auto_offset_reset = "latest"
        partition_assignment_strategy = "cooperative-sticky"
        key_header = "device"
        tls = { ca_file = "ca.pem", cert_file = "c.pem", key_file = "k.pem", key_password = "secret", verify_hostname = false }
        sasl = { mechanism = "SCRAM-SHA-256", user = "u", password = "${WORD}" }
        decoding = { codec = "raw", sample_type = "f32be", channels = 2, sample_rate_hz = 0.5 }
        [source.client_options]
        "session.timeout.ms" = 20000
        max.poll.interval.ms = "${SIZE}000"
        socket.nagle.disable = false
        [encoder]
        type = "rvq"
        model = "m"
        [delivery]
        guarantee = "exactly_once"
        commit_interval_ms = 100
        commit_frames = 1000
        commit_bytes = 65536
        state_topic = "state"
        instance = "left"
        transaction_timeout_ms = 30000
        [[sinks]]
        type = "kafka"
        brokers = "a:9092, b"
        topic = "{topic}.{key}"
        compression = "zstd"
        client_options = { "linger.ms" = 0.5 }
        create_topic = { partitions = 8, replication_factor = 3, config = { "retention.ms" = "1000" } }
        model_topic = "models"
        encoding = "packets"
        "#;
    let options = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let source = source_of(text);
    let tls = TlsConfig {
        ca_file: Some(PathBuf::from("ca.pem")),
        identity: Some(TlsIdentity {
            cert_file: PathBuf::from("c.pem"),
            key_file: PathBuf::from("k.pem"),
            key_password: Some(Secret::new("secret")),
        }),
        verify_hostname: false,
    };
    let sasl = SaslConfig {
        mechanism: SaslMechanism::ScramSha256,
        user: "u".to_owned(),
        password: Secret::new("many"),
    };
    let client = KafkaClientConfig {
        brokers: "a:9092, b".to_owned(),
        tls: Some(tls),
        sasl: Some(sasl),
        client_options: options(&[
            ("max.poll.interval.ms", "128000"),
            ("session.timeout.ms", "20000"),
            ("socket.nagle.disable", "false"),
        ]),
    };
    assert_eq!(source.client, client);
    assert_eq!(source.topics, ["one", "^two[0-9]+"]);
    assert_eq!(source.topics.iter().map(|topic| is_topic_pattern(topic)).collect::<Vec<_>>(), [false, true]);
    assert_eq!(source.group_instance_id.as_deref(), Some("g-1"));
    assert_eq!(source.auto_offset_reset, AutoOffsetReset::Latest);
    assert_eq!(source.partition_assignment_strategy, AssignmentStrategy::CooperativeSticky);
    assert_eq!(source.key_header.as_deref(), Some("device"));
    let sink = sink_of(text);
    assert_eq!(sink.client.client_options, options(&[("linger.ms", "0.5")]));
    assert_eq!(sink.topic.expand("one", "k").unwrap(), "one.k");
    assert_eq!(sink.compression, Compression::Zstd);
    let create = CreateTopicConfig {
        partitions: count(8),
        replication_factor: count(3),
        config: options(&[("retention.ms", "1000")]),
    };
    assert_eq!(sink.create_topic, Some(create));
    assert_eq!(sink.model_topic.as_deref(), Some("models"));
    let config = parse(text).unwrap();
    let delivery = DeliveryConfig {
        guarantee: Guarantee::ExactlyOnce,
        commit_interval: Duration::from_millis(100),
        commit_frames: Some(count(1000)),
        commit_bytes: Some(count(65536)),
        state: StateStore::Changelog { topic: "state".to_owned() },
        instance: Some("left".to_owned()),
        transaction_timeout: Duration::from_secs(30),
    };
    assert_eq!(config.delivery, delivery);
    assert_eq!(config.dead_letters, Some(DeadLetterConfig::Topic { topic: "refused".to_owned() }));
}

#[test]
fn packets_are_read_with_or_without_options() {
    let config = parse(PACKETS).unwrap();
    assert_eq!(config.encoder, None);
    let by_default = PacketsDecoding { models: vec![PathBuf::from("models")], model_topic: None };
    assert_eq!(source_of(PACKETS).decoding, SourceDecoding::Packets(by_default));
    let table = "decoding = { codec = \"packets\", models = [\"a\", \"b\"], model_topic = \"models\" }";
    let given = PacketsDecoding {
        models: vec![PathBuf::from("a"), PathBuf::from("b")],
        model_topic: Some("models".to_owned()),
    };
    let source = source_of(&replaced(PACKETS, "decoding = \"packets\"", table));
    assert_eq!(source.decoding, SourceDecoding::Packets(given));
    assert_eq!(sink_of(PACKETS).encoding, KafkaEncoding::Json);
    assert_eq!(sink_of(&replaced(PACKETS, "\"json\"", "\"raw\"")).encoding, KafkaEncoding::Raw);
}

proptest! {
    #[test]
    fn damaged_pipelines_never_panic(at in 0..KAFKA.len(), length in 0..40_usize, new in "[\\PC\n\\[\\]{}=\"$.#,^]{0,12}") {
        let mut text = KAFKA.to_owned();
        text.replace_range(at..(at + length).min(KAFKA.len()), &new);
        if let Err(error) = parse(&text) {
            prop_assert!(!error.problems().is_empty());
        }
    }
}
