//! Whether the brokers that a pipeline names answer, and have its topics.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{Isolation, reader_config};
use crate::config::{
    DeadLetterConfig, KafkaClientConfig, PipelineConfig, Problem, SinkConfig, SourceConfig, SourceDecoding,
    is_topic_pattern,
};

/// Brokers that do not answer, and topics that do not exist and that nothing creates. Waits `timeout` for each
/// cluster.
pub(crate) fn problems(config: &PipelineConfig, timeout: Duration) -> Vec<Problem> {
    let mut clusters = Clusters { asked: Vec::new(), timeout };
    let mut problems = Vec::new();
    if let SourceConfig::Kafka(source) = &config.source {
        let mut topics = Vec::new();
        for (i, topic) in source.topics.iter().enumerate().filter(|(_, topic)| !is_topic_pattern(topic)) {
            topics.push((format!("source.topics[{i}]"), topic.as_str()));
        }
        if let SourceDecoding::Packets(packets) = &source.decoding
            && let Some(topic) = &packets.model_topic
        {
            topics.push(("source.decoding.model_topic".to_owned(), topic));
        }
        if let Some(DeadLetterConfig::Topic { topic }) = &config.dead_letters {
            topics.push(("dead_letters.topic".to_owned(), topic));
        }
        clusters.look_for(config, "source", &source.client, &topics, &mut problems);
    }
    for (i, sink) in config.sinks.iter().enumerate() {
        if let SinkConfig::Kafka(sink) = sink {
            let creates = sink.create_topic.is_some()
                || sink.client.client_options.contains_key("allow.auto.create.topics");
            let topic = sink.topic.fixed().filter(|_| !creates);
            let topics: Vec<_> =
                topic.map(|topic| (format!("sinks[{i}].topic"), topic)).into_iter().collect();
            clusters.look_for(config, &format!("sinks[{i}]"), &sink.client, &topics, &mut problems);
        }
    }
    problems
}

/// What clusters have answered: source and sink are often on the same one.
struct Clusters<'a> {
    asked: Vec<(&'a KafkaClientConfig, Result<BTreeSet<String>, String>)>,
    timeout: Duration,
}

impl<'a> Clusters<'a> {
    fn look_for(
        &mut self,
        config: &PipelineConfig,
        place: &str,
        client: &'a KafkaClientConfig,
        topics: &[(String, &str)],
        problems: &mut Vec<Problem>,
    ) {
        match self.topics(client) {
            Err(message) => problems.push(config.problem(&format!("{place}.brokers"), message)),
            Ok(existing) => {
                for (key, topic) in topics.iter().filter(|(_, topic)| !existing.contains(*topic)) {
                    let message = format!(
                        "the topic {topic:?} does not exist on {}, or may not be seen; create it",
                        client.brokers
                    );
                    problems.push(config.problem(key, message));
                }
            }
        }
    }

    fn topics(&mut self, client: &'a KafkaClientConfig) -> Result<BTreeSet<String>, String> {
        let same = |asked: &KafkaClientConfig| {
            asked.brokers == client.brokers && asked.tls == client.tls && asked.sasl == client.sasl
        };
        if let Some((_, answer)) = self.asked.iter().find(|(asked, _)| same(asked)) {
            return answer.clone();
        }
        let answer = list_topics(client, self.timeout);
        self.asked.push((client, answer.clone()));
        answer
    }
}

/// The topics of a cluster, or why it cannot be asked.
fn list_topics(client: &KafkaClientConfig, timeout: Duration) -> Result<BTreeSet<String>, String> {
    let mut config = reader_config(client, Isolation::Committed);
    // Nothing is read: without a group the client closes at once, whether the brokers answer or not.
    config.remove("group.id");
    let consumer: BaseConsumer<Errors> =
        config.create_with_context(Errors::default()).map_err(|error| match error {
            KafkaError::ClientCreation(reason) => format!("no client can be made of this: {reason}"),
            // The others may show a property's value.
            _ => "no client can be made of this: librdkafka does not take a property".to_owned(),
        })?;
    match consumer.fetch_metadata(None, timeout) {
        Ok(metadata) => Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()),
        Err(error) => {
            // Errors wait in the client's queue, among log lines, until it is polled.
            for _ in 0..MAX_ERRORS {
                let _ = consumer.poll(Duration::from_millis(1));
            }
            let reason = consumer.context().reason().unwrap_or_else(|| error.to_string());
            let seconds = timeout.as_secs_f64();
            Err(format!("{} does not answer within {seconds} s: {reason}", client.brokers))
        }
    }
}

/// Errors of a client that are looked at.
const MAX_ERRORS: usize = 100;

/// Keeps what librdkafka reports; metadata that does not come says nothing of why.
#[derive(Default)]
pub(super) struct Errors {
    reported: Mutex<Vec<(Option<RDKafkaErrorCode>, String)>>,
}

impl Errors {
    /// The report that says most: a refusal rather than a connection that ended.
    pub(super) fn reason(&self) -> Option<String> {
        let reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = |code: &Option<RDKafkaErrorCode>| {
            matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL))
        };
        let first = reported.iter().find(|(code, _)| refusal(code)).or(reported.first());
        first.map(|(_, reason)| reason.clone())
    }
}

impl ClientContext for Errors {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() < MAX_ERRORS {
            reported.push((error.rdkafka_error_code(), reason.to_owned()));
        }
    }
}

impl ConsumerContext for Errors {}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;

    use super::*;

    fn pipeline(brokers: &str, rest: &str) -> PipelineConfig {
        let text = format!(
            "name = 'p'\ndead_letters.topic = 'letters'\n[encoder]\ntype = 'rvq'\nmodel = 'm'\n[source]\n\
             type = 'kafka'\nbrokers = '{brokers}'\ntopics = ['there', '^any', 'nowhere']\ngroup_id = 'g'\n\
             decoding = {{ codec = 'raw', sample_type = 's16le', channels = 1, sample_rate_hz = 1 }}\n\
             [[sinks]]\ntype = 'kafka'\nbrokers = '{brokers}'\ntopic = 'packets'\n{rest}"
        );
        PipelineConfig::parse(&text, "p.toml", &|_| None).unwrap()
    }

    fn keys(problems: &[Problem]) -> Vec<&str> {
        problems.iter().filter_map(|problem| problem.key.as_deref()).collect()
    }

    #[test]
    fn topics_that_nothing_creates_have_to_exist() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("there", 1, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let patience = Duration::from_secs(30);
        let found = problems(&pipeline(&brokers, ""), patience);
        assert_eq!(keys(&found), ["source.topics[2]", "dead_letters.topic", "sinks[0].topic"], "{found:?}");
        assert_eq!(found[0].line, Some(9));
        let found = problems(&pipeline(&brokers, "create_topic = { partitions = 1 }"), patience);
        assert_eq!(keys(&found), ["source.topics[2]", "dead_letters.topic"], "{found:?}");
    }

    #[test]
    fn brokers_that_do_not_answer_are_named_with_the_reason() {
        // Bound and closed again: nothing listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let found = problems(&pipeline(&format!("127.0.0.1:{port}"), ""), Duration::from_millis(500));
        assert_eq!(keys(&found), ["source.brokers", "sinks[0].brokers"], "{found:?}");
        assert!(found[0].message.contains("refused"), "{found:?}");
    }
}
