//! What librdkafka says of a pipeline's options, before anything is opened.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::client::{consumer_config, producer_config};
use crate::config::{KafkaClientConfig, PipelineConfig, Problem, SinkConfig, SourceConfig, is_topic_pattern};

/// Every property and every regular expression of a topic that librdkafka does not take, in its own words.
pub(crate) fn problems(config: &PipelineConfig) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let SourceConfig::Kafka(source) = &config.source {
        client_problems(config, "source", &source.client, &consumer_config(source, None), &mut problems);
        for (i, topic) in source.topics.iter().enumerate().filter(|(_, topic)| is_topic_pattern(topic)) {
            if let Err(message) = check_pattern(topic) {
                problems.push(config.problem(&format!("source.topics[{i}]"), message));
            }
        }
    }
    for (i, sink) in config.sinks.iter().enumerate() {
        if let SinkConfig::Kafka(sink) = sink {
            let place = format!("sinks[{i}]");
            client_problems(config, &place, &sink.client, &producer_config(sink, None), &mut problems);
        }
    }
    problems
}

fn client_problems(
    config: &PipelineConfig,
    place: &str,
    client: &KafkaClientConfig,
    whole: &ClientConfig,
    problems: &mut Vec<Problem>,
) {
    // Each alone: librdkafka stops at the first that it does not take.
    for (name, value) in &client.client_options {
        if let Err((_, message)) = take(ClientConfig::new().set(name, value)) {
            problems.push(config.problem(&format!("{place}.client_options.{name:?}"), message));
        }
    }
    if let Err((name, message)) = take(whole)
        && !client.client_options.contains_key(&name)
    {
        // librdkafka was built without TLS, or a path is none for it.
        let key = if name.starts_with("ssl.") || name == "security.protocol" {
            "tls"
        } else if name.starts_with("sasl.") {
            "sasl"
        } else {
            "client_options"
        };
        problems.push(config.problem(&format!("{place}.{key}"), message));
    }
}

/// The property that librdkafka does not take and why; never the value, as the error itself would show.
fn take(config: &ClientConfig) -> Result<(), (String, String)> {
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, message, name, _)) => Err((name, message.trim().to_owned())),
        Err(error) => Err((String::new(), error.to_string())),
    }
}

/// Has librdkafka compile a regular expression, as one of the topics to ignore: it compiles those when they
/// are set, and those to read only once they are subscribed to.
fn check_pattern(pattern: &str) -> Result<(), String> {
    // In that list a comma ends the pattern.
    if pattern.contains(',') {
        return Ok(());
    }
    take(ClientConfig::new().set("topic.blacklist", pattern)).map_err(|(_, message)| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str, sink: &str) -> Vec<String> {
        let text = format!(
            "name = 'p'\n[encoder]\ntype = 'rvq'\nmodel = 'm'\n[source]\ntype = 'kafka'\nbrokers = 'a:1'\n\
             group_id = 'g'\n\
             decoding = {{ codec = 'raw', sample_type = 's16le', channels = 1, sample_rate_hz = 1 }}\n{source}\n\
             [[sinks]]\ntype = 'kafka'\nbrokers = 'a:1'\ntopic = 'u'\n{sink}\n"
        );
        let config = PipelineConfig::parse(&text, "p.toml", &|_| None).unwrap();
        problems(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn options_that_librdkafka_does_not_take_are_all_found_at_their_lines() {
        let options = "topics = ['t']\n[source.client_options]\n'sesion.timeout.ms' = 6000\ncheck.crcs = 'perhaps'\n\
                       'debug' = 'cgrp'";
        let found = found(options, "[sinks.client_options]\n'linger.ms' = -1");
        assert_eq!(
            found,
            [
                "p.toml:11: source.client_options.\"check.crcs\": Expected bool value for \"check.crcs\": true or \
                 false",
                "p.toml:12: source.client_options.\"sesion.timeout.ms\": No such configuration property: \
                 \"sesion.timeout.ms\"",
                "p.toml:20: sinks[0].client_options.\"linger.ms\": Configuration property \
                 \"queue.buffering.max.ms\" value -1 is outside allowed range 0..900000",
            ]
        );
    }

    #[test]
    fn regular_expressions_are_compiled() {
        assert_eq!(found("topics = ['^a.*', '^[a-z]{1,3}$$', '^(a|b)', 'plain']", ""), [""; 0]);
        let found = found("topics = ['^a', '^(a']", "");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("p.toml:10: source.topics[1]: "), "{found:?}");
    }
}
