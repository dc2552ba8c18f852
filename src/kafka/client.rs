//! From a pipeline's configuration to librdkafka's.
//!
//! What the pipeline file sets in `client_options` comes last: `config` has refused what is not its to set.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{
    DEFAULT_SESSION_TIMEOUT_MS, KafkaClientConfig, KafkaSinkConfig, KafkaSourceConfig, is_consumer_only,
    is_producer_only,
};

/// What a broker takes as its default: a message of this size passes, and a larger one is refused at once.
const MESSAGE_MAX_BYTES: &str = "1048588";

/// The group of consumers that are assigned partitions and join none: librdkafka assigns to no consumer
/// without one.
const READER_GROUP: &str = "rivulet-reader";

/// The consumer of a source, as the member `group_instance_id` of its group unless the source names another.
pub(crate) fn consumer_config(source: &KafkaSourceConfig, group_instance_id: Option<&str>) -> ClientConfig {
    let mut config = base(&source.client, "rivulet-source");
    consume(&mut config);
    config
        .set("group.id", &source.group_id)
        // The source looks up itself where a partition is taken up: librdkafka would skip what was deleted in silence.
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed");
    if let Some(id) = source.group_instance_id.as_deref().or(group_instance_id) {
        config.set("group.instance.id", id);
    }
    // Both are the brokers' where they assign the partitions, and librdkafka refuses them.
    if !source.brokers_assign() {
        config
            .set("partition.assignment.strategy", source.partition_assignment_strategy.as_str())
            .set("session.timeout.ms", DEFAULT_SESSION_TIMEOUT_MS.to_string());
    }
    set_options(&mut config, &source.client, |_| true);
    config
}

/// Who a transactional producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transactional<'a> {
    /// The same across restarts of one process, and no other process's at the same time.
    pub(crate) id: &'a str,
    /// How long a transaction may stay open before the brokers abort it.
    pub(crate) timeout: Duration,
}

/// The producer of a sink.
///
/// Without transactions a message is sent until it is acknowledged, however long that takes. In a transaction
/// it fails with the transaction's timeout, and the transaction is aborted and done again.
pub(crate) fn producer_config(
    sink: &KafkaSinkConfig,
    transactional: Option<Transactional<'_>>,
) -> ClientConfig {
    let mut config = base(&sink.client, "rivulet-sink");
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("compression.type", sink.compression.as_str())
        // Whether a topic that is written to is made where it is missing is for the brokers to say.
        .set("allow.auto.create.topics", "true")
        .set("message.max.bytes", MESSAGE_MAX_BYTES)
        // librdkafka's own bound is a gigabyte, which a broker that is away would fill.
        .set("queue.buffering.max.kbytes", "65536");
    match transactional {
        Some(transactional) => config
            .set("transactional.id", transactional.id)
            .set("transaction.timeout.ms", transactional.timeout.as_millis().to_string()),
        None => config.set("message.timeout.ms", "0"),
    };
    set_options(&mut config, &sink.client, |_| true);
    config
}

/// What a reader sees of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// What has been committed, up to the first transaction that is still open.
    Committed,
    /// Everything, what was aborted too.
    Uncommitted,
}

/// A consumer that joins no group: for metadata, watermarks, and partitions that are assigned to it by hand
/// and read to their end, which it is told of.
pub(crate) fn reader_config(client: &KafkaClientConfig, isolation: Isolation) -> ClientConfig {
    let mut config = base(client, "rivulet-reader");
    consume(&mut config);
    // A sink's options may be given too; what is about groups has no use here.
    set_options(&mut config, client, |name| !is_producer_only(name) && !name.starts_with("group."));
    config
        .set("group.id", READER_GROUP)
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "true")
        .set(
            "isolation.level",
            match isolation {
                Isolation::Committed => "read_committed",
                Isolation::Uncommitted => "read_uncommitted",
            },
        );
    config
}

/// A producer for what goes to the brokers of a source beside the packets: dead letters, open windows.
pub(crate) fn writer_config(client: &KafkaClientConfig) -> ClientConfig {
    let mut config = base(client, "rivulet-writer");
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .set("message.timeout.ms", "0")
        // Whether a topic that is written to is made where it is missing is for the brokers to say.
        .set("allow.auto.create.topics", "true")
        .set("message.max.bytes", MESSAGE_MAX_BYTES)
        .set("queue.buffering.max.kbytes", "65536");
    set_options(&mut config, client, |name| !is_consumer_only(name));
    config
}

fn base(client: &KafkaClientConfig, id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &client.brokers)
        .set("client.id", id)
        .set("allow.auto.create.topics", "false")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "100")
        // A transaction lasts ten seconds: a broker that is back has to be found well within them.
        .set("reconnect.backoff.max.ms", "2000")
        // New topics and partitions are found within this time.
        .set("topic.metadata.refresh.interval.ms", "5000");
    let debug = client.client_options.contains_key("debug");
    config.set_log_level(if debug { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    secure(&mut config, client);
    config
}

fn secure(config: &mut ClientConfig, client: &KafkaClientConfig) {
    let protocol = match (&client.tls, &client.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    config.set("security.protocol", protocol);
    if let Some(tls) = &client.tls {
        let checked = if tls.verify_hostname { "https" } else { "none" };
        config.set("ssl.endpoint.identification.algorithm", checked);
        if let Some(file) = &tls.ca_file {
            config.set("ssl.ca.location", file.to_string_lossy());
        }
        if let Some(identity) = &tls.identity {
            config
                .set("ssl.certificate.location", identity.cert_file.to_string_lossy())
                .set("ssl.key.location", identity.key_file.to_string_lossy());
            if let Some(password) = &identity.key_password {
                config.set("ssl.key.password", password.reveal());
            }
        }
    }
    if let Some(sasl) = &client.sasl {
        config
            .set("sasl.mechanism", sasl.mechanism.as_str())
            .set("sasl.username", &sasl.user)
            .set("sasl.password", sasl.password.reveal());
    }
}

fn consume(config: &mut ClientConfig) {
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // librdkafka's own bounds let a backlog of many partitions fill gigabytes.
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "10000")
        // With a queue that small a second's pause in fetching would empty it.
        .set("fetch.queue.backoff.ms", "10");
}

fn set_options(config: &mut ClientConfig, client: &KafkaClientConfig, wanted: impl Fn(&str) -> bool) {
    for (name, value) in client.client_options.iter().filter(|(name, _)| wanted(name)) {
        config.set(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PipelineConfig, SinkConfig, SourceConfig};

    fn pipeline(source: &str, sink: &str) -> (KafkaSourceConfig, KafkaSinkConfig) {
        let text = format!(
            "name = 'p'\n[source]\ntype = 'kafka'\nbrokers = 'a:1'\ntopics = ['t']\ngroup_id = 'g'\n\
             decoding = {{ codec = 'raw', sample_type = 's16le', channels = 1, sample_rate_hz = 1 }}\n{source}\n\
             [encoder]\ntype = 'rvq'\nmodel = 'm'\n\
             [[sinks]]\ntype = 'kafka'\nbrokers = 'a:1'\ntopic = 'u'\n{sink}\n"
        );
        let config = PipelineConfig::parse(&text, "p.toml", &|_| None).unwrap();
        match (config.source, &config.sinks[..]) {
            (SourceConfig::Kafka(source), [SinkConfig::Kafka(sink)]) => (*source, (**sink).clone()),
            other => panic!("{other:?}"),
        }
    }

    /// What librdkafka would run with.
    fn taken(config: &ClientConfig, name: &str) -> String {
        config.create_native_config().unwrap().get(name).unwrap()
    }

    #[track_caller]
    fn holds(config: &ClientConfig, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            assert_eq!(taken(config, name), *value, "{name}");
        }
    }

    #[test]
    fn a_consumer_leaves_commits_to_rivulet() {
        let (source, _) = pipeline("", "");
        let config = consumer_config(&source, Some("host-0"));
        holds(
            &config,
            &[
                ("bootstrap.servers", "a:1"),
                ("group.id", "g"),
                ("group.instance.id", "host-0"),
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("auto.offset.reset", "error"),
                ("isolation.level", "read_committed"),
                ("partition.assignment.strategy", "range,roundrobin"),
                ("session.timeout.ms", "10000"),
                ("security.protocol", "plaintext"),
            ],
        );
        let (source, _) = pipeline(
            "group_instance_id = 'mine'\nauto_offset_reset = 'error'\n\
             partition_assignment_strategy = 'cooperative-sticky'\n\
             client_options = { 'session.timeout.ms' = 6000, 'queued.min.messages' = 5, 'client.id' = 'c' }",
            "",
        );
        holds(
            &consumer_config(&source, Some("host-0")),
            &[
                ("group.instance.id", "mine"),
                ("auto.offset.reset", "error"),
                ("partition.assignment.strategy", "cooperative-sticky"),
                ("session.timeout.ms", "6000"),
                ("queued.min.messages", "5"),
                ("client.id", "c"),
            ],
        );
    }

    #[test]
    fn brokers_that_assign_are_not_told_how() {
        let (source, _) = pipeline("client_options = { 'group.protocol' = 'consumer' }", "");
        let config = consumer_config(&source, None);
        assert_eq!(config.get("group.protocol"), Some("consumer"));
        assert_eq!(config.get("session.timeout.ms"), None);
        assert_eq!(config.get("partition.assignment.strategy"), None);
        assert_eq!(config.get("group.instance.id"), None);
        // librdkafka takes the combination.
        config.create::<rdkafka::consumer::BaseConsumer>().unwrap();
    }

    #[test]
    fn a_producer_gives_no_message_up() {
        let (_, sink) = pipeline("", "compression = 'lz4'\nclient_options.linger.ms = 50");
        let config = producer_config(&sink, None);
        holds(
            &config,
            &[
                ("enable.idempotence", "true"),
                ("acks", "-1"),
                ("message.timeout.ms", "0"),
                ("compression.type", "lz4"),
                ("linger.ms", "50"),
                ("allow.auto.create.topics", "true"),
            ],
        );
        config.create::<rdkafka::producer::BaseProducer>().unwrap();
    }

    #[test]
    fn options_are_taken_under_each_of_their_names() {
        let (_, sink) = pipeline("", "client_options = { 'queue.buffering.max.ms' = 20 }");
        holds(&producer_config(&sink, None), &[("linger.ms", "20"), ("queue.buffering.max.ms", "20")]);
    }

    #[test]
    fn a_message_of_a_megabyte_passes() {
        use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
        let (source, sink) = pipeline("", "");
        let payload = vec![0; 1_000_000];
        for config in [producer_config(&sink, None), writer_config(&source.client)] {
            let producer: BaseProducer = config.create().unwrap();
            producer
                .send(BaseRecord::to("u").key("pump-7").payload(&payload))
                .map_err(|(error, _)| error)
                .unwrap();
            producer.purge(rdkafka::producer::PurgeConfig::default().queue());
        }
    }

    #[test]
    fn a_transaction_bounds_how_long_a_message_waits() {
        let (_, sink) = pipeline("", "");
        let timeout = Duration::from_secs(10);
        let config = producer_config(&sink, Some(Transactional { id: "p-host-0", timeout }));
        holds(&config, &[("transactional.id", "p-host-0"), ("transaction.timeout.ms", "10000")]);
        assert_eq!(config.get("message.timeout.ms"), None);
        config.create::<rdkafka::producer::BaseProducer>().unwrap();
    }

    #[test]
    fn a_reader_takes_what_concerns_it() {
        let (source, sink) = pipeline(
            "client_options = { 'group.protocol' = 'consumer', 'isolation.level' = 'read_committed' }",
            "client_options = { 'linger.ms' = 50, 'socket.timeout.ms' = 900 }",
        );
        let config = reader_config(&source.client, Isolation::Uncommitted);
        holds(
            &config,
            &[
                ("isolation.level", "read_uncommitted"),
                ("group.protocol", "classic"),
                ("enable.partition.eof", "true"),
            ],
        );
        let config = reader_config(&sink.client, Isolation::Committed);
        assert_eq!(config.get("linger.ms"), None);
        holds(&config, &[("isolation.level", "read_committed"), ("socket.timeout.ms", "900")]);
        let config = writer_config(&source.client);
        assert_eq!(config.get("group.protocol"), None);
        holds(&config, &[("enable.idempotence", "true"), ("message.timeout.ms", "0")]);
    }

    #[test]
    #[cfg(feature = "tls")]
    fn tls_and_sasl_arrive_and_stay_out_of_sight() {
        let (source, sink) = pipeline(
            "tls = { ca_file = 'ca.pem', cert_file = 'c.pem', key_file = 'k.pem', key_password = 'hunter1' }\n\
             sasl = { mechanism = 'SCRAM-SHA-512', user = 'u', password = 'hunter2' }",
            "tls = { verify_hostname = false }",
        );
        let config = consumer_config(&source, None);
        holds(
            &config,
            &[
                ("security.protocol", "sasl_ssl"),
                ("ssl.ca.location", "ca.pem"),
                ("ssl.certificate.location", "c.pem"),
                ("ssl.key.location", "k.pem"),
                ("ssl.endpoint.identification.algorithm", "https"),
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("sasl.username", "u"),
            ],
        );
        assert_eq!(config.get("sasl.password"), Some("hunter2"));
        assert_eq!(config.get("ssl.key.password"), Some("hunter1"));
        assert!(!format!("{config:?} {source:?}").contains("hunter"), "{config:?} {source:?}");
        holds(
            &producer_config(&sink, None),
            &[("security.protocol", "ssl"), ("ssl.endpoint.identification.algorithm", "none")],
        );
    }
}
