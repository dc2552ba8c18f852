//! What the `kafka` source and sinks share: brokers, TLS, SASL and librdkafka's own options.

mod options;
mod security;
mod sink;
mod source;
mod topic;

use std::collections::BTreeMap;

use super::section::{Refused, Section};
use options::Side;

pub use security::{SaslConfig, SaslMechanism, TlsConfig, TlsIdentity};
pub use sink::{Compression, CreateTopicConfig, KafkaEncoding, KafkaSinkConfig};
pub use source::{
    AssignmentStrategy, AutoOffsetReset, KafkaSourceConfig, PacketsDecoding, SourceDecoding, is_topic_pattern,
};
pub use topic::{InvalidTopicName, TopicTemplate, check_topic_name};

pub(crate) use options::{is_consumer_only, is_producer_only};
#[cfg(test)]
pub(super) use security::{SASL_KEYS, TLS_KEYS};
#[cfg(test)]
pub(super) use sink::CREATE_TOPIC_KEYS;
pub(super) use sink::{SINK_KEYS, read_sink};
pub(crate) use source::DEFAULT_SESSION_TIMEOUT_MS;
#[cfg(test)]
pub(super) use source::PACKETS_KEYS;
pub(super) use source::{DEFAULT_MAX_POLL_INTERVAL_MS, SOURCE_KEYS, holds_packets, read_source};

/// How to reach a Kafka cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaClientConfig {
    /// Brokers to ask for the others: `host:port`, separated by commas.
    pub brokers: String,
    /// TLS to the brokers; none: plain text.
    pub tls: Option<TlsConfig>,
    /// Who Rivulet is to the brokers; none: it does not say.
    pub sasl: Option<SaslConfig>,
    /// Properties of librdkafka that the pipeline file sets, each by the name that Rivulet uses where there
    /// are several; none of them is one that Rivulet has to set itself.
    pub client_options: BTreeMap<String, String>,
}

impl KafkaClientConfig {
    /// A client option that is a whole number, `default` where it is not given or none.
    pub(super) fn number_option(&self, name: &str, default: u64) -> u64 {
        self.client_options.get(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

fn read_client(section: &mut Section<'_>, side: Side) -> Result<KafkaClientConfig, Refused> {
    let brokers = read_brokers(section);
    let tls = security::read_tls(section);
    let sasl = security::read_sasl(section);
    let client_options = options::read(section, side);
    Ok(KafkaClientConfig { brokers: brokers?, tls: tls?, sasl: sasl?, client_options: client_options? })
}

fn read_brokers(section: &mut Section<'_>) -> Result<String, Refused> {
    let brokers = section.word("brokers");
    let brokers = section.required("brokers", brokers)?;
    let wrong = brokers.split(',').map(str::trim).find(|broker| !is_broker(broker));
    match wrong {
        None => Ok(brokers),
        Some(wrong) => Err(section.refuse(
            "brokers",
            format!("expected host:port, several separated by commas; {wrong:?} is no broker"),
        )),
    }
}

/// True for a host with or without a port; what the name leads to is for the network to say.
fn is_broker(broker: &str) -> bool {
    let (host, port) = match broker.rsplit_once(':') {
        // The colons of an IPv6 address without its port.
        Some(_) if broker.ends_with(']') => (broker, None),
        Some((host, port)) => (host, Some(port)),
        None => (broker, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    !host.is_empty() && !host.contains(char::is_whitespace) && port_fits
}

/// A text that is the name of one topic.
pub(super) fn read_topic_name(section: &mut Section<'_>, key: &str) -> Result<Option<String>, Refused> {
    match section.text(key)? {
        Some(name) => match check_topic_name(&name) {
            Ok(()) => Ok(Some(name)),
            Err(error) => Err(section.refuse(key, error.to_string())),
        },
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_or_without_a_port() {
        for broker in ["a", "a:9092", "127.0.0.1:1", "[::1]", "[::1]:9092", "SSL://a.example:9093"] {
            assert!(is_broker(broker), "{broker}");
        }
        for broker in ["", ":9092", "a:", "a:0", "a:65536", "a:b", "a b:9092"] {
            assert!(!is_broker(broker), "{broker}");
        }
    }
}
