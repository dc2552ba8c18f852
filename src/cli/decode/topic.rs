//! Decodes a topic of packets.

mod streams;

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::config::ClientConfig;
use rdkafka::message::{BorrowedMessage, Message};

use self::streams::{Streams, Target};
use super::append::Appending;
use super::format::Format;
use super::troubles::Troubles;
use super::{Arguments, CliError, usage};
use crate::cli::{exit, print};
use crate::config::{KafkaClientConfig, check_topic_name};
use crate::kafka::client::{Isolation, reader_config};
use crate::kafka::model_topic::ModelTopic;
use crate::kafka::topic_reader::{TopicError, TopicReader};
use crate::packet::Packet;
use crate::pipeline::Decoders;
use crate::source::kafka::{MAX_KEY_BYTES, packet_source, text_of};

pub(super) fn run(url: &str, arguments: &Arguments, format: Format) -> Result<(), CliError> {
    if arguments.physical {
        return Err(usage(
            "--physical takes the gain and baseline of channels, which are in a .rvl file and not in the messages of \
             a topic; leave it out",
        ));
    }
    if !arguments.range().is_all() {
        return Err(usage("--from and --to are for .rvl files; a topic is read to its end: leave them out"));
    }
    let (brokers, topic) = parse(url)?;
    let into_folder = arguments.wants_folder();
    if !into_folder && arguments.streams.len() > 1 {
        return Err(usage("one file holds one stream of a topic; give a folder for several: -o DIR/"));
    }
    if let Some(model_topic) = &arguments.model_topic {
        check_topic_name(model_topic)
            .map_err(|error| usage(format_args!("--model-topic {model_topic}: {error}")))?;
    }
    let client = client(brokers, &arguments.options)?;
    let models = arguments
        .model_topic
        .as_ref()
        .map(|topic| ModelTopic { reader: client.clone(), topic: topic.clone() });
    let target = match into_folder {
        true => Target::Folder(arguments.output.clone()),
        false => Target::File(arguments.output.clone()),
    };
    let mut decoding = Decoding {
        topic: topic.to_owned(),
        wanted: arguments.streams.iter().cloned().collect(),
        streams: Streams::new(target, format),
        decoders: Decoders::new(arguments.library(), models),
        troubles: Troubles::default(),
        messages: 0,
        frames: 0,
    };
    let reader = TopicReader::open(&client, topic)?;
    reader.read(|message| decoding.take(message))?;
    decoding.finish(&format!("kafka://{url}"), reader.partitions())
}

/// Brokers and topic of `HOST:PORT[,HOST:PORT...]/TOPIC`.
fn parse(url: &str) -> Result<(&str, &str), CliError> {
    let expected = "expected kafka://HOST:PORT[,HOST:PORT...]/TOPIC";
    match url.split_once('/') {
        Some((brokers, topic)) if !brokers.is_empty() && !topic.is_empty() => {
            check_topic_name(topic)
                .map_err(|error| usage(format_args!("kafka://{url}: {error}; {expected}")))?;
            Ok((brokers, topic))
        }
        _ => Err(usage(format_args!("kafka://{url}: {expected}"))),
    }
}

/// A client with properties of librdkafka, each `NAME=VALUE`.
fn client(brokers: &str, options: &[String]) -> Result<ClientConfig, CliError> {
    let mut client_options = BTreeMap::new();
    for option in options {
        // Not the option itself: it may be a password.
        let (name, value) = option
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| usage("--option takes NAME=VALUE, such as security.protocol=SSL"))?;
        client_options.insert(name.to_owned(), value.to_owned());
    }
    let client = KafkaClientConfig { brokers: brokers.to_owned(), tls: None, sasl: None, client_options };
    Ok(reader_config(&client, Isolation::Committed))
}

impl From<TopicError> for CliError {
    fn from(error: TopicError) -> Self {
        let code = match error {
            TopicError::Options(_) => exit::USAGE,
            TopicError::Missing { .. } => exit::NO_INPUT,
            TopicError::Unavailable { .. } => exit::UNAVAILABLE,
        };
        Self::new(code, error)
    }
}

/// The messages of a topic on their way to files.
struct Decoding {
    topic: String,
    /// Keys of the streams that are wanted; all where there are none.
    wanted: BTreeSet<String>,
    streams: Streams,
    decoders: Decoders,
    troubles: Troubles,
    messages: u64,
    frames: u64,
}

impl Decoding {
    fn take(&mut self, message: &BorrowedMessage<'_>) -> Result<(), CliError> {
        let key = match message.key() {
            Some(key) => text_of(key.get(..=MAX_KEY_BYTES).unwrap_or(key)),
            None => format!("{}/{}", self.topic, message.partition()),
        };
        if !self.wanted.is_empty() && !self.wanted.contains(&key) {
            return Ok(());
        }
        self.messages += 1;
        let place = || format!("{}/{} offset {}", self.topic, message.partition(), message.offset());
        if message.key().is_some_and(|key| key.len() > MAX_KEY_BYTES) {
            self.troubles.tell(&format!("{}: its key has more than {MAX_KEY_BYTES} bytes", place()));
            return Ok(());
        }
        let packet = match Packet::from_bytes(message.payload().unwrap_or_default()) {
            Ok(packet) => packet,
            Err(error) => {
                self.troubles.tell(&format!("{}: {error}", place()));
                return Ok(());
            }
        };
        let (stream, output) = self.streams.get(&key, &packet.header)?;
        if let Some(misfit) = stream.misfit(&packet.header) {
            self.troubles.tell(&format!("{}: {misfit}", place()));
            return Ok(());
        }
        let columns = stream.columns();
        let continuity = stream.continuity(packet_source(message).unwrap_or_default());
        let mut appending = Appending { decoders: &mut self.decoders, troubles: &mut self.troubles };
        let all = 0..packet.header.valid_samples();
        self.frames += appending.append(&packet, continuity, output, columns, all, &place)?;
        Ok(())
    }

    /// Says what was done.
    fn finish(self, input: &str, partitions: usize) -> Result<(), CliError> {
        let Self { wanted, streams, troubles, messages, frames, .. } = self;
        let to_stdout = streams.to_stdout();
        let keys = streams.finish()?;
        if let Some(missing) = wanted.iter().find(|key| !keys.contains(*key)) {
            return Err(usage(format_args!("no stream '{missing}' in the topic")));
        }
        let line = format!(
            "{input}: {} streams, {frames} frames in {messages} messages; {partitions} partitions, each read to the end \
             that it had at the start; {} repeated frames left out, {} samples lost, {} damaged messages\n",
            keys.len(),
            troubles.repeated_frames,
            troubles.lost_samples,
            troubles.places
        );
        if to_stdout {
            crate::cli::warn(line.trim_end());
        } else {
            print(&line)?;
        }
        troubles.into_result(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_brokers_and_a_topic() {
        assert_eq!(parse("a:1,b:2/t.packets").unwrap(), ("a:1,b:2", "t.packets"));
        for url in ["", "a:1", "a:1/", "/t", "a:1/t/u", "a:1/t?x"] {
            assert_eq!(parse(url).unwrap_err().code, exit::USAGE, "{url}");
        }
    }

    #[test]
    fn options_go_to_librdkafka_and_reading_stays_what_it_is() {
        let options = ["security.protocol=SSL", "ssl.ca.location=/a=b", "isolation.level=read_uncommitted"]
            .map(str::to_owned);
        let client = client("a:1", &options).unwrap();
        assert_eq!(client.get("security.protocol"), Some("SSL"));
        assert_eq!(client.get("ssl.ca.location"), Some("/a=b"));
        assert_eq!(client.get("isolation.level"), Some("read_committed"));
        for wrong in ["security.protocol", "=x"] {
            let error = super::client("a:1", &[wrong.to_owned()]).unwrap_err();
            assert_eq!(error.code, exit::USAGE);
        }
    }
}
