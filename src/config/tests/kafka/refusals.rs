//! What the Kafka source and sink refuse alone.

use super::*;

#[test]
fn brokers_and_topics_are_held_to_their_form() {
    let cases = [
        ("topics = [\"telemetry\"]", "topics = []", "p.toml:5: source.topics: is empty: name a topic"),
        (
            "topics = [\"telemetry\"]",
            "topics = \"telemetry\"",
            "p.toml:5: source.topics: expected an array of texts, found the text \"telemetry\"",
        ),
        (
            "topics = [\"telemetry\"]",
            "topics = [\n\"a\",\n\"a\"]",
            "p.toml:7: source.topics[1]: the same topic as topics[0]",
        ),
        (
            "topics = [\"telemetry\"]",
            "topics = [\"^\"]",
            "p.toml:5: source.topics[0]: an empty regular expression; \"^.\" stands for every topic",
        ),
        (
            "topics = [\"telemetry\"]",
            "topics = [7]",
            "p.toml:5: source.topics[0]: expected a text that is not empty, found the number 7",
        ),
        (
            "topics = [\"telemetry\"]",
            "topics = [\"a*\"]",
            "p.toml:5: source.topics[0]: \"a*\" is not the name of a topic: 1 to 249 letters, digits, '.', '_' or \
             '-' (ASCII), and not '.' or '..'; a regular expression starts with '^'",
        ),
        (
            "group_id = \"rivulet\"",
            "group_id = \"\"",
            "p.toml:6: source.group_id: expected a text that is not empty, found the text \"\"",
        ),
        ("group_id = \"rivulet\"\n", "", "p.toml:2: source.group_id: missing"),
        (
            "\"earliest\"",
            "\"earlyest\"",
            "p.toml:7: source.auto_offset_reset: expected one of earliest, latest, error, found the text \"earlyest\" \
             (did you mean 'earliest'?)",
        ),
        ("topic = \"telemetry.packets\"\n", "", "p.toml:18: sinks[0].topic: missing"),
        (
            "\"telemetry.packets\"",
            "\"{partition}\"",
            "p.toml:21: sinks[0].topic: braces hold {topic} or {key}; a topic's name has none of its own",
        ),
        (
            "topic = \"telemetry.packets\"",
            "topic = \"u\"\ncompression = \"lz5\"",
            "p.toml:22: sinks[0].compression: expected one of none, gzip, snappy, lz4, zstd, found the text \"lz5\" \
             (did you mean 'lz4'?)",
        ),
        (
            "topic = \"telemetry.packets\"",
            "topic = \"u\"\ncreate_topic = {}",
            "p.toml:22: sinks[0].create_topic.partitions: missing",
        ),
        (
            "topic = \"telemetry.packets\"",
            "topic = \"u\"\ncreate_topic = { partitions = 1, config = { \"retention.ms\" = 1 } }",
            "p.toml:22: sinks[0].create_topic.config.\"retention.ms\": expected a text, found the number 1",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(refused(old, new), expected);
    }
    let found = problems(&KAFKA.replace("a:9092", "a:b"));
    let expected = "brokers: expected host:port, several separated by commas; \"a:b\" is no broker";
    assert_eq!(found, [format!("p.toml:4: source.{expected}"), format!("p.toml:20: sinks[0].{expected}")]);
    assert_eq!(
        refused_in_source("group_instance_id = \"a b\""),
        "p.toml:7: source.group_instance_id: a name is 1 to 64 letters, digits, '-', '_' or '.' (ASCII)"
    );
}

#[test]
fn decoding_is_a_table_or_packets() {
    let with = |value: &str| problem_of(PACKETS, "decoding = \"packets\"", value);
    assert_eq!(
        problems(&replaced(PACKETS, "\"packets\"", "\"raw\""))[1],
        "p.toml:7: source.decoding: expected \"packets\" or a table with a codec, found the text \"raw\""
    );
    assert_eq!(
        with("decoding = { codec = \"packets\", model = [\"m\"] }"),
        "p.toml:7: source.decoding.model: unknown key (did you mean 'models'?)"
    );
    assert_eq!(
        with("decoding = { codec = \"packets\", models = [] }"),
        "p.toml:7: source.decoding.models: is empty: name a directory"
    );
}

#[test]
fn tls_and_sasl_are_whole_or_refused() {
    let cases = [
        ("tls = { cert_file = \"c\" }", "tls.key_file: missing: the private key of cert_file"),
        ("tls = { key_file = \"k\" }", "tls.cert_file: missing: the certificate of key_file"),
        ("tls = { key_password = \"p\" }", "tls.key_password: means nothing without cert_file and key_file"),
        ("tls = true", "tls: expected a table, found true"),
        ("tls = { ca = \"c\" }", "tls.ca: unknown key"),
        ("sasl = { mechanism = \"PLAIN\", user = \"u\" }", "sasl.password: missing"),
        (
            "sasl = { mechanism = \"SCRAM\", user = \"u\", password = \"p\" }",
            "sasl.mechanism: expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, found the text \"SCRAM\"",
        ),
    ];
    for (lines, expected) in cases {
        let found = refused_in_source(lines);
        assert!(found.starts_with(&format!("p.toml:7: source.{expected}")), "{found}");
    }
    let source = source_of(&in_source("tls = {}"));
    assert_eq!(source.client.tls, Some(TlsConfig { ca_file: None, identity: None, verify_hostname: true }));
}

#[test]
fn secrets_are_in_no_message() {
    let secret = "1122334455";
    let lines = [
        format!("sasl = {{ mechanism = \"PLAIN\", user = \"u\", password = {secret} }}"),
        format!("sasl = {{ mechanism = \"PLAIN\", user = \"u\", password = {secret}998877665544332211 }}"),
        format!("sasl = {{ mechanism = \"PLAIN\", user = \"u\", password = [\"{secret}\"] }}"),
        format!("sasl = {{ mechanism = \"PLAIN\", user = \"u\", password = \"${{PASSWORD:{secret}}}\" }}"),
        format!("sasl = {{ mechanism = \"PLAIN\", user = \"u\", password = \"${{{secret}}}\" }}"),
        format!("tls = {{ key_password = {secret} }}"),
        format!("client_options = {{ \"sasl.password\" = \"{secret}\" }}"),
        format!("client_options = {{ \"ssl.key.password\" = {secret} }}"),
        format!("client_options = {{ \"ssl.keystore.password\" = [\"{secret}\"] }}"),
        format!("client_options = {{ sasl.oauthbearer.client.secret = \"{secret}\" }}"),
    ];
    for lines in lines {
        let found = problems(&in_source(&lines));
        assert!(!found.is_empty(), "{lines}");
        assert!(found.iter().all(|problem| !problem.contains(secret)), "{found:?}");
    }
    let sasl = "sasl = { mechanism = \"PLAIN\", user = \"u\", password = \"1122334455\" }";
    assert!(!format!("{:?}", parse(&in_source(sasl)).unwrap()).contains(secret));
}

#[test]
fn client_options_that_are_not_the_files_to_set_are_refused_with_the_reason() {
    let cases = [
        (
            "enable.auto.commit = true",
            "source.client_options.enable.auto.commit: Rivulet commits positions itself, each once its packets are \
             acknowledged; use delivery.commit_interval_ms",
        ),
        (
            "\"group.id\" = \"g\"",
            "source.client_options.\"group.id\": Rivulet sets it: use the key 'group_id'",
        ),
        (
            "\"sasl.password\" = \"p\"",
            "source.client_options.\"sasl.password\": Rivulet sets it: use the table 'sasl'",
        ),
        (
            "\"ssl.key.password\" = \"p\"",
            "source.client_options.\"ssl.key.password\": Rivulet sets it: use the table 'tls'",
        ),
        (
            "\"linger.ms\" = 1",
            "source.client_options.\"linger.ms\": a property of producers: it belongs to a sink",
        ),
        (
            "\"check.crcs\" = [true]",
            "source.client_options.\"check.crcs\": expected a text, a number, true or false",
        ),
        (
            "\"session.timeout.ms\" = 400000",
            "source.client_options: max.poll.interval.ms is 300000, but has to be at least session.timeout.ms, 400000",
        ),
    ];
    for (option, expected) in cases {
        assert_eq!(
            refused_in_source(&format!("client_options = {{ {option} }}")),
            format!("p.toml:7: {expected}")
        );
    }
    assert_eq!(
        refused_in_sink("client_options = { acks = 1 }"),
        "p.toml:22: sinks[0].client_options.acks: Rivulet waits for all in-sync replicas: a packet that fewer have is \
         lost with them"
    );
    assert_eq!(
        refused_in_sink("client_options = { \"linger.ms\" = 1, \"queue.buffering.max.ms\" = 2 }"),
        "p.toml:22: sinks[0].client_options.\"queue.buffering.max.ms\": the same property as another one here: give \
         'linger.ms' once"
    );
    assert_eq!(
        refused_in_source("client_options = 1"),
        "p.toml:7: source.client_options: expected a table, found the number 1"
    );
}

#[test]
fn what_brokers_assign_is_not_the_files_to_set() {
    let consumer = "client_options = { \"group.protocol\" = \"consumer\" }";
    assert!(source_of(&in_source(consumer)).brokers_assign());
    assert!(!source_of(KAFKA).brokers_assign());
    let found = refused_in_source(&format!("{consumer}\npartition_assignment_strategy = \"range\""));
    assert!(
        found.starts_with("p.toml:8: source.partition_assignment_strategy: with group.protocol"),
        "{found}"
    );
    let found = refused_in_source(
        "client_options = { \"group.protocol\" = \"consumer\", \"session.timeout.ms\" = 6000 }",
    );
    assert!(found.starts_with("p.toml:7: source.client_options: session.timeout.ms: "), "{found}");
}

#[test]
fn problems_of_a_kafka_pipeline_are_reported_at_once() {
    let text = r#"name = "t"
[source]
type = "kafka"
brokers = ""
topics = ["a b"]
auto_offset_reset = "first"
partition_assignment_strategy = "sticky"
client_options = { "group.id" = "g", "enable.auto.commit" = true }
tls = { verify_hostname = "no" }
sasl = { mechanism = "PLAIN" }
decoding = { codec = "raw" }
[delivery]
guarantee = "twice"
commit_frames = 0
[encoder]
type = "rvq"
model = "m"
max_packet_delay_ms = 0
[[sinks]]
type = "kafka"
topic = "{}"
create_topic = { partitions = 0 }
"#;
    let error = parse(text).unwrap_err();
    let keys: Vec<_> = error.problems().iter().filter_map(|problem| problem.key.as_deref()).collect();
    let expected = [
        "source.group_id",
        "source.brokers",
        "source.topics[0]",
        "source.auto_offset_reset",
        "source.partition_assignment_strategy",
        "source.client_options.\"enable.auto.commit\"",
        "source.client_options.\"group.id\"",
        "source.tls.verify_hostname",
        "source.sasl.password",
        "source.sasl.user",
        "source.decoding.sample_rate_hz",
        "source.decoding.sample_type",
        "delivery.guarantee",
        "delivery.commit_frames",
        "encoder.max_packet_delay_ms",
        "sinks[0].brokers",
        "sinks[0].topic",
        "sinks[0].create_topic.partitions",
    ];
    assert_eq!(keys, expected);
}
