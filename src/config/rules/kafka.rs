//! Rules of pipelines that read from Kafka or write to it.

use std::time::Duration;

use super::Sections;
use crate::config::kafka::DEFAULT_MAX_POLL_INTERVAL_MS;
use crate::config::section::Report;
use crate::config::{
    DeadLetterConfig, Guarantee, KafkaEncoding, KafkaSinkConfig, KafkaSourceConfig, SinkConfig, SourceConfig,
    SourceDecoding, StateStore,
};

pub(super) fn check(sections: &Sections<'_>, report: &Report<'_>) {
    match sections.source {
        Some(SourceConfig::Kafka(source)) => {
            match source.decoding {
                SourceDecoding::Packets(_) => packets_become_samples(sections, report),
                SourceDecoding::Samples(_) => samples_become_packets(sections, report),
            }
            commits_fit_their_timeouts(sections, source, report);
            exactly_once_is_one_transaction(sections, source, report);
            one_use_per_topic(sections, source, report);
        }
        Some(SourceConfig::File(_)) => {
            samples_become_packets(sections, report);
            let why = "only for a source of type \"kafka\", or one that follows files: a file is read from its beginning";
            no_delivery(sections, why, report);
            nothing_needs_a_kafka_source(sections, "a file", report);
        }
        Some(SourceConfig::Follow(_)) => {
            samples_become_packets(sections, report);
            no_transactions(sections, report);
            nothing_needs_a_kafka_source(sections, "a file", report);
        }
        Some(SourceConfig::Serial(_)) => {
            samples_become_packets(sections, report);
            let why = "only for a source of type \"kafka\", or one that follows files: what a serial port has sent cannot be \
                       read again, and nothing is committed";
            no_delivery(sections, why, report);
            nothing_needs_a_kafka_source(sections, "a serial port", report);
        }
        None => {}
    }
}

/// The Kafka sinks with the keys of their tables.
fn kafka_sinks<'a>(sections: &Sections<'a>) -> impl Iterator<Item = (String, &'a KafkaSinkConfig)> {
    sections.sinks.iter().enumerate().filter_map(|(i, sink)| match sink {
        Ok(SinkConfig::Kafka(sink)) => Some((format!("sinks[{i}]"), sink.as_ref())),
        _ => None,
    })
}

fn packets_become_samples(sections: &Sections<'_>, report: &Report<'_>) {
    for (i, sink) in sections.sinks.iter().enumerate() {
        let kind = match sink {
            Ok(SinkConfig::File(_)) => "file",
            Ok(SinkConfig::Mirror(_)) => "mirror",
            Ok(SinkConfig::Stdout(_)) => "stdout",
            Ok(SinkConfig::Kafka(_)) | Err(_) => continue,
        };
        report.refuse(
            &format!("sinks[{i}].type"),
            format!("a {kind} sink takes packets, and this pipeline turns packets into samples; use type \"kafka\""),
        );
    }
    for (place, sink) in kafka_sinks(sections) {
        if sink.encoding == KafkaEncoding::Packets {
            report.refuse(
                &format!("{place}.encoding"),
                "has to be \"raw\" or \"json\": the source holds packets, and this pipeline turns them into samples",
            );
        }
        if sink.model_topic.is_some() {
            report.refuse(
                &format!("{place}.model_topic"),
                "this pipeline has no model to publish: leave it out",
            );
        }
    }
    for key in sections.delivery_keys.iter().filter(|key| matches!(key.as_str(), "state" | "state_topic")) {
        report.refuse(
            &format!("delivery.{key}"),
            "the source holds packets, of which no windows are open: leave it out",
        );
    }
    if let Some(window) = sections.window {
        let given = [("frame_size", window.frame_size.is_some()), ("max_gap_ms", window.max_gap.is_some())];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            report.refuse(
                &format!("window.{key}"),
                "the source holds packets, whose frames are cut already: leave it out",
            );
        }
    }
}

fn samples_become_packets(sections: &Sections<'_>, report: &Report<'_>) {
    for (place, sink) in kafka_sinks(sections) {
        if sink.encoding != KafkaEncoding::Packets {
            report.refuse(
                &format!("{place}.encoding"),
                "only for a source with decoding = \"packets\": leave it out, a message holds a packet",
            );
        }
    }
}

/// `why` says what there is instead of positions.
fn no_delivery(sections: &Sections<'_>, why: &str, report: &Report<'_>) {
    if let Some(delivery) = sections.delivery {
        if delivery.guarantee == Guarantee::ExactlyOnce {
            report.refuse(
                "delivery.guarantee",
                "exactly_once needs a source of type \"kafka\", whose positions are part of the transaction; \
                 leave it out",
            );
        }
        let other_keys = sections.delivery_keys.iter().map(String::as_str);
        let known = crate::config::delivery::KEYS;
        for key in other_keys.filter(|key| known.contains(key) && *key != "guarantee") {
            report.refuse(&format!("delivery.{key}"), why);
        }
    }
}

/// What delivers packets of followed files is no transaction.
fn no_transactions(sections: &Sections<'_>, report: &Report<'_>) {
    if sections.delivery.is_some_and(|delivery| delivery.guarantee == Guarantee::ExactlyOnce) {
        report.refuse(
            "delivery.guarantee",
            "exactly_once needs a source of type \"kafka\", whose positions are part of the transaction; leave it out: a \
             sink of type \"file\" gets every frame once even so, one of type \"kafka\" at least once",
        );
    }
    for key in sections.delivery_keys.iter().filter(|key| *key == "instance") {
        report.refuse(
            &format!("delivery.{key}"),
            "only for a source of type \"kafka\": a state file is one process's alone",
        );
    }
}

/// `origin` is where the samples come from instead.
fn nothing_needs_a_kafka_source(sections: &Sections<'_>, origin: &str, report: &Report<'_>) {
    for (place, sink) in kafka_sinks(sections) {
        if sink.topic.names_topic() {
            report.refuse(
                &format!("{place}.topic"),
                format!(
                    "{{topic}} is the topic that samples come from, and {origin} has none; write the name itself, or \
                     {{key}}"
                ),
            );
        }
    }
    if let Some(DeadLetterConfig::Topic { .. }) = sections.dead_letters {
        report.refuse(
            "dead_letters.topic",
            "lies with the brokers of the source, which has to be of type \"kafka\"; use 'path'",
        );
    }
}

fn commits_fit_their_timeouts(sections: &Sections<'_>, source: &KafkaSourceConfig, report: &Report<'_>) {
    let Some(delivery) = sections.delivery else { return };
    let exactly_once = delivery.guarantee == Guarantee::ExactlyOnce;
    let poll_ms = source.client.number_option("max.poll.interval.ms", DEFAULT_MAX_POLL_INTERVAL_MS);
    let bounds = [
        ("delivery.transaction_timeout_ms", delivery.transaction_timeout, exactly_once),
        ("the source's max.poll.interval.ms", Duration::from_millis(poll_ms), true),
    ];
    for (name, timeout, _) in bounds.iter().filter(|(_, _, applies)| *applies) {
        // What is written has to be acknowledged within the other half.
        if delivery.commit_interval > *timeout / 2 {
            report.refuse(
                "delivery.commit_interval_ms",
                format!(
                    "is {}, but may be at most half of {name}, which is {}",
                    delivery.commit_interval.as_millis(),
                    timeout.as_millis()
                ),
            );
        }
    }
    if !exactly_once {
        return;
    }
    for (place, sink) in kafka_sinks(sections) {
        let timeout_ms = u64::try_from(delivery.transaction_timeout.as_millis()).unwrap_or(u64::MAX);
        let socket_ms = sink.client.number_option("socket.timeout.ms", 0);
        if socket_ms > timeout_ms {
            report.refuse(
                &format!("{place}.client_options"),
                format!(
                    "socket.timeout.ms is {socket_ms}, but may be at most delivery.transaction_timeout_ms, \
                     which is {timeout_ms}"
                ),
            );
        }
    }
}

fn exactly_once_is_one_transaction(sections: &Sections<'_>, source: &KafkaSourceConfig, report: &Report<'_>) {
    if sections.delivery.is_none_or(|delivery| delivery.guarantee != Guarantee::ExactlyOnce) {
        return;
    }
    for (i, sink) in sections.sinks.iter().enumerate() {
        if let Ok(SinkConfig::File(_)) = sink {
            report.refuse(
                &format!("sinks[{i}].type"),
                "what goes to a file is no part of the transaction of exactly_once; leave the sink out, \
                 or give it a pipeline of its own with another group_id",
            );
        }
    }
    let mut sinks = kafka_sinks(sections);
    match sinks.next() {
        Some((place, sink)) if sink.client.brokers != source.client.brokers => {
            report.refuse(
                &format!("{place}.brokers"),
                format!(
                    "exactly_once is a transaction of one cluster: has to be source.brokers, {:?}",
                    source.client.brokers
                ),
            );
        }
        Some(_) => {}
        None if sections.sinks.iter().any(Result::is_err) => {}
        None => {
            report.refuse(
                "delivery.guarantee",
                "exactly_once needs a sink of type \"kafka\"; add one, or leave it out",
            );
        }
    }
    for (place, _) in sinks {
        report.refuse(
            &format!("{place}.type"),
            "exactly_once takes one sink of type \"kafka\"; give the others a pipeline of their own with another \
             group_id",
        );
    }
}

fn one_use_per_topic(sections: &Sections<'_>, source: &KafkaSourceConfig, report: &Report<'_>) {
    let brokers = source.client.brokers.as_str();
    let mut uses: Vec<(String, &str, &str)> = Vec::new();
    for (i, topic) in source.topics.iter().enumerate() {
        uses.push((format!("source.topics[{i}]"), brokers, topic));
    }
    if let SourceDecoding::Packets(packets) = &source.decoding
        && let Some(topic) = &packets.model_topic
    {
        uses.push(("source.decoding.model_topic".to_owned(), brokers, topic));
    }
    let mut written: Vec<(String, &str, &str)> = Vec::new();
    for (place, sink) in kafka_sinks(sections) {
        if let Some(topic) = sink.topic.fixed() {
            written.push((format!("{place}.topic"), &sink.client.brokers, topic));
        } else if sink.topic.to_string() == "{topic}" && sink.client.brokers == brokers {
            report.refuse(
                &format!("{place}.topic"),
                "would be written to the topic that is read; give it a name of its own: \"{topic}.packets\"",
            );
        }
    }
    // Sinks may share the topic of their models: it holds a model once.
    let models = kafka_sinks(sections).filter_map(|(place, sink)| {
        let topic = sink.model_topic.as_deref()?;
        Some((format!("{place}.model_topic"), sink.client.brokers.as_str(), topic))
    });
    let models: Vec<_> = models.collect();
    if let Some(delivery) = sections.delivery
        && let StateStore::Changelog { topic } = &delivery.state
    {
        written.push(("delivery.state_topic".to_owned(), brokers, topic));
    }
    if let Some(DeadLetterConfig::Topic { topic }) = sections.dead_letters {
        written.push(("dead_letters.topic".to_owned(), brokers, topic));
    }
    let refuse_used = |uses: &[(String, &str, &str)], (key, brokers, topic): &(String, &str, &str)| {
        let taken = uses.iter().find(|(_, its_brokers, used)| its_brokers == brokers && used == topic);
        if let Some((user, ..)) = taken {
            report.refuse(key, format!("the same topic as {user}: give it one of its own"));
        }
    };
    for written in written {
        refuse_used(&uses, &written);
        uses.push(written);
    }
    for model in models {
        refuse_used(&uses, &model);
    }
}
