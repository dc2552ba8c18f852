//! `client_options`: librdkafka's own properties, less those that are not the pipeline file's to set.

use std::collections::BTreeMap;

use crate::config::interpolate::Expanded;
use crate::config::places::join;
use crate::config::section::{Refused, Section};
use crate::config::value::{Table, Value};

/// Who the options are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Sink,
}

/// Which values of a property are refused.
enum Refusal {
    /// Every one.
    Always,
    /// All but these.
    Except(&'static [&'static str]),
    /// These.
    Values(&'static [&'static str]),
    /// Whole numbers above this one.
    Above(u64),
}

impl Refusal {
    fn covers(&self, value: &str) -> bool {
        let is_one_of = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(value));
        match self {
            Self::Always => true,
            Self::Except(allowed) => !is_one_of(allowed),
            Self::Values(refused) => is_one_of(refused),
            Self::Above(most) => value.parse::<u64>().is_ok_and(|value| value > *most),
        }
    }
}

const YES: &[&str] = &["true", "t", "1"];
const NO: &[&str] = &["false", "f", "0"];

const BROKERS: &str = "Rivulet sets it: use the key 'brokers'";
const PROTOCOL: &str = "Rivulet sets it: it follows from the tables 'tls' and 'sasl'";
const TLS: &str = "Rivulet sets it: use the table 'tls'";
const SASL: &str = "Rivulet sets it: use the table 'sasl'";
const POSITIONS: &str = "Rivulet commits positions itself, each once its packets are acknowledged; use delivery.commit_interval_ms";
const UNTIL_ACKNOWLEDGED: &str =
    "Rivulet sends a packet again until it is acknowledged: giving up would lose its samples";

/// What neither side may set.
const REFUSED: &[(&str, Refusal, &str)] = &[
    ("bootstrap.servers", Refusal::Always, BROKERS),
    ("security.protocol", Refusal::Always, PROTOCOL),
    ("ssl.ca.location", Refusal::Always, TLS),
    ("ssl.ca.pem", Refusal::Always, TLS),
    ("ssl.certificate.location", Refusal::Always, TLS),
    ("ssl.certificate.pem", Refusal::Always, TLS),
    ("ssl.key.location", Refusal::Always, TLS),
    ("ssl.key.pem", Refusal::Always, TLS),
    ("ssl.key.password", Refusal::Always, TLS),
    ("ssl.keystore.location", Refusal::Always, TLS),
    ("ssl.keystore.password", Refusal::Always, TLS),
    ("ssl.endpoint.identification.algorithm", Refusal::Always, TLS),
    ("enable.sasl.oauthbearer.unsecure.jwt", Refusal::Always, SASL),
    ("plugin.library.paths", Refusal::Always, "Rivulet loads no code that a pipeline file names"),
    ("enabled_events", Refusal::Always, "Rivulet sets it itself"),
    ("log.queue", Refusal::Always, "Rivulet sets it itself"),
    ("log_level", Refusal::Always, "Rivulet sets it: use -v and -q of the command"),
    ("internal.termination.signal", Refusal::Always, "Rivulet handles signals itself"),
];

const REFUSED_OF_SOURCE: &[(&str, Refusal, &str)] = &[
    ("group.id", Refusal::Always, "Rivulet sets it: use the key 'group_id'"),
    ("group.instance.id", Refusal::Always, "Rivulet sets it: use the key 'group_instance_id'"),
    ("auto.offset.reset", Refusal::Always, "Rivulet sets it: use the key 'auto_offset_reset'"),
    (
        "partition.assignment.strategy",
        Refusal::Always,
        "Rivulet sets it: use the key 'partition_assignment_strategy'",
    ),
    ("enable.auto.commit", Refusal::Except(NO), POSITIONS),
    ("auto.commit.interval.ms", Refusal::Always, POSITIONS),
    ("enable.auto.offset.store", Refusal::Except(NO), POSITIONS),
    ("offset.store.method", Refusal::Always, POSITIONS),
    ("offset.store.path", Refusal::Always, POSITIONS),
    ("offset.store.sync.interval.ms", Refusal::Always, POSITIONS),
    (
        "isolation.level",
        Refusal::Except(&["read_committed"]),
        "Rivulet reads what is committed only: what an aborted transaction wrote would be encoded as well",
    ),
    ("enable.partition.eof", Refusal::Always, "Rivulet sets it where it needs it"),
];

const REFUSED_OF_SINK: &[(&str, Refusal, &str)] = &[
    ("transactional.id", Refusal::Always, "Rivulet sets it: use delivery.guarantee and delivery.instance"),
    ("transaction.timeout.ms", Refusal::Always, "Rivulet sets it: use delivery.transaction_timeout_ms"),
    (
        "enable.idempotence",
        Refusal::Except(YES),
        "Rivulet writes idempotently: without it packets are repeated and change their order when one is sent again",
    ),
    (
        "acks",
        Refusal::Except(&["all", "-1"]),
        "Rivulet waits for all in-sync replicas: a packet that fewer have is lost with them",
    ),
    (
        "max.in.flight",
        Refusal::Above(5),
        "above 5 the brokers cannot keep packets in order when one is sent again; set 1 to 5",
    ),
    ("retries", Refusal::Always, UNTIL_ACKNOWLEDGED),
    ("message.timeout.ms", Refusal::Always, UNTIL_ACKNOWLEDGED),
    ("compression.type", Refusal::Always, "Rivulet sets it: use the key 'compression'"),
    (
        "delivery.report.only.error",
        Refusal::Except(NO),
        "Rivulet commits a position once its packets are reported as delivered: they have to be reported",
    ),
    ("queuing.strategy", Refusal::Except(&["fifo"]), "the packets of a stream have to leave in order"),
    (
        "queue.buffering.backpressure.threshold",
        Refusal::Above(1),
        "has to be 1 for a producer that writes idempotently",
    ),
    (
        "partitioner",
        Refusal::Values(&["random"]),
        "the packets of a stream have to stay in one partition: take a partitioner that hashes the key",
    ),
];

/// Properties with several names, by the one that Rivulet uses. Two names of one property in the same client
/// would take effect in any order.
const ALIASES: &[(&str, &str)] = &[
    ("metadata.broker.list", "bootstrap.servers"),
    ("max.in.flight.requests.per.connection", "max.in.flight"),
    ("auto.commit.enable", "enable.auto.commit"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("message.send.max.retries", "retries"),
    ("compression.codec", "compression.type"),
    ("request.required.acks", "acks"),
    ("delivery.timeout.ms", "message.timeout.ms"),
];

/// Properties that a producer ignores.
const CONSUMER_ONLY: &[&str] = &[
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "coordinator.query.interval.ms",
    "max.poll.interval.ms",
    "enable.auto.commit",
    "auto.commit.interval.ms",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "fetch.wait.max.ms",
    "fetch.queue.backoff.ms",
    "max.partition.fetch.bytes",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.error.backoff.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "isolation.level",
    "enable.partition.eof",
    "check.crcs",
    "consume.callback.max.messages",
];

/// Properties that a consumer ignores.
const PRODUCER_ONLY: &[&str] = &[
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "enable.gapless.guarantee",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "linger.ms",
    "retries",
    "queue.buffering.backpressure.threshold",
    "compression.type",
    "compression.level",
    "batch.num.messages",
    "batch.size",
    "delivery.report.only.error",
    "sticky.partitioning.linger.ms",
    "acks",
    "request.timeout.ms",
    "message.timeout.ms",
    "queuing.strategy",
    "produce.offset.report",
    "partitioner",
];

/// True for a property that only consumers have.
pub(crate) fn is_consumer_only(name: &str) -> bool {
    CONSUMER_ONLY.contains(&name)
}

/// True for a property that only producers have.
pub(crate) fn is_producer_only(name: &str) -> bool {
    PRODUCER_ONLY.contains(&name)
}

/// Reads `client_options`. Whether librdkafka knows a property and takes its value is for librdkafka to say.
pub(super) fn read(section: &mut Section<'_>, side: Side) -> Result<BTreeMap<String, String>, Refused> {
    let table = match section.value("client_options")? {
        None => return Ok(BTreeMap::new()),
        Some(Value::Table(table)) => table,
        Some(other) => {
            let found = other.describe();
            return Err(section.refuse("client_options", format!("expected a table, found {found}")));
        }
    };
    let mut found = Vec::new();
    flatten(&section.key("client_options"), "", table, &mut found);
    let report = section.report();
    let mut options: BTreeMap<String, String> = BTreeMap::new();
    let mut refused = false;
    for (path, given, value) in found {
        let name = canonical(&given);
        match read_option(name, value, side) {
            Ok(None) => refused = true,
            Ok(Some(_)) if options.contains_key(name) => {
                report.refuse(&path, format!("the same property as another one here: give '{name}' once"));
                refused = true;
            }
            Ok(Some(value)) => {
                options.insert(name.to_owned(), value);
            }
            Err(message) => {
                report.refuse(&path, message);
                refused = true;
            }
        }
    }
    if refused { Err(Refused) } else { Ok(options) }
}

/// The properties with their paths in the file. TOML reads `session.timeout.ms = 1` without quotes as nested
/// tables; it stands for the property all the same.
fn flatten(path: &str, prefix: &str, table: Table, found: &mut Vec<(String, String, Value)>) {
    for (key, value) in table {
        let path = join(path, &key);
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(table) => flatten(&path, &name, table, found),
            value => found.push((path, name, value)),
        }
    }
}

fn canonical(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// The value of one property in librdkafka's form; none where its text has been refused already.
fn read_option(name: &str, value: Value, side: Side) -> Result<Option<String>, String> {
    // No message shows a value: it may be a password under the wrong name.
    let value = match value {
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(Expanded { text, .. }) if !text.contains('\0') => text,
        Value::Refused => return Ok(None),
        Value::Text(_) | Value::Array(_) | Value::Table(_) => {
            return Err("expected a text, a number, true or false".to_owned());
        }
    };
    if name.starts_with("sasl.") {
        return Err(SASL.to_owned());
    }
    let (own, foreign) = match side {
        Side::Source => (REFUSED_OF_SOURCE, is_producer_only(name)),
        Side::Sink => (REFUSED_OF_SINK, is_consumer_only(name)),
    };
    if foreign {
        return Err(match side {
            Side::Source => "a property of producers: it belongs to a sink",
            Side::Sink => "a property of consumers: it belongs to the source",
        }
        .to_owned());
    }
    let refusal =
        REFUSED.iter().chain(own).find(|(refused, refusal, _)| *refused == name && refusal.covers(&value));
    match refusal {
        Some((_, _, reason)) => Err((*reason).to_owned()),
        None => Ok(Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, value: &str, side: Side) -> Result<Option<String>, String> {
        let text = Expanded { text: value.to_owned(), whole: false };
        read_option(canonical(name), Value::Text(text), side)
    }

    #[test]
    fn what_breaks_delivery_is_refused_and_its_harmless_values_are_not() {
        let source = [
            ("enable.auto.commit", "true", "false"),
            ("enable.auto.offset.store", "1", "F"),
            ("isolation.level", "read_uncommitted", "read_committed"),
        ];
        for (name, refused, allowed) in source {
            assert!(read_text(name, refused, Side::Source).is_err(), "{name}");
            assert_eq!(read_text(name, allowed, Side::Source), Ok(Some(allowed.to_owned())), "{name}");
        }
        let sink = [
            ("enable.idempotence", "false", "true"),
            ("acks", "1", "all"),
            ("request.required.acks", "0", "-1"),
            ("max.in.flight", "6", "5"),
            ("max.in.flight.requests.per.connection", "1000", "1"),
            ("partitioner", "random", "murmur2_random"),
            ("queuing.strategy", "lifo", "fifo"),
            ("delivery.report.only.error", "true", "false"),
        ];
        for (name, refused, allowed) in sink {
            assert!(read_text(name, refused, Side::Sink).is_err(), "{name}");
            assert_eq!(read_text(name, allowed, Side::Sink), Ok(Some(allowed.to_owned())), "{name}");
        }
    }

    #[test]
    fn what_rivulet_sets_is_refused_under_every_name() {
        for side in [Side::Source, Side::Sink] {
            for name in ["bootstrap.servers", "metadata.broker.list", "security.protocol", "sasl.mechanisms"]
            {
                assert!(read_text(name, "x", side).unwrap_err().starts_with("Rivulet sets it"), "{name}");
            }
        }
        for name in ["retries", "message.send.max.retries", "message.timeout.ms", "delivery.timeout.ms"] {
            assert_eq!(read_text(name, "9", Side::Sink), Err(UNTIL_ACKNOWLEDGED.to_owned()));
        }
    }

    #[test]
    fn properties_of_the_other_side_are_refused() {
        for name in CONSUMER_ONLY {
            assert!(
                read_text(name, "1", Side::Sink).unwrap_err().contains("belongs to the source"),
                "{name}"
            );
        }
        for name in PRODUCER_ONLY {
            assert!(read_text(name, "1", Side::Source).unwrap_err().contains("belongs to a sink"), "{name}");
        }
    }

    /// A name with a slip in a table would let the property it means pass.
    #[test]
    fn librdkafka_knows_every_name_of_the_tables() {
        let refused = REFUSED.iter().chain(REFUSED_OF_SOURCE).chain(REFUSED_OF_SINK).map(|(name, ..)| *name);
        let aliases = ALIASES.iter().flat_map(|(alias, name)| [*alias, *name]);
        let names = refused.chain(aliases).chain(CONSUMER_ONLY.iter().chain(PRODUCER_ONLY).copied());
        for name in names {
            // No property takes this value or it takes any; an unknown name is told apart by its words.
            let set = rdkafka::ClientConfig::new().set(name, "\u{1}").create_native_config();
            if let Err(error) = set {
                assert!(!error.to_string().contains("No such configuration property"), "{name}: {error}");
            }
        }
        let unknown = rdkafka::ClientConfig::new().set("no.such.name", "1").create_native_config();
        assert!(unknown.err().unwrap().to_string().contains("No such configuration property"));
    }

    /// Two names for one thing in the tables would let one of them pass.
    #[test]
    fn tables_use_the_names_that_rivulet_uses() {
        let refused = REFUSED.iter().chain(REFUSED_OF_SOURCE).chain(REFUSED_OF_SINK).map(|(name, ..)| *name);
        for name in refused.chain(CONSUMER_ONLY.iter().chain(PRODUCER_ONLY).copied()) {
            assert_eq!(canonical(name), name);
        }
    }
}
