//! Reads a topic from its beginning to the end that it has now.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::probe::Errors;

/// How long the brokers may take to answer, or to send anything while a topic is read.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one poll takes.
const STEP: Duration = Duration::from_millis(100);

/// Why a topic cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// librdkafka does not take the options.
    #[error("no client can be made of the options: {0}")]
    Options(String),
    /// There is no such topic.
    #[error("the topic {topic:?} does not exist on {brokers}, or may not be seen")]
    Missing {
        /// The topic.
        topic: String,
        /// Who was asked.
        brokers: String,
    },
    /// The brokers do not answer, or refuse.
    #[error("{brokers}: the topic {topic:?} cannot be read: {reason}")]
    Unavailable {
        /// The topic.
        topic: String,
        /// Who was asked.
        brokers: String,
        /// What librdkafka says.
        reason: String,
    },
}

/// Reads a topic's partitions one after the other, each from its beginning to the end that it had when the reader
/// was made: what comes later is left out. Messages of a partition come in order.
pub(crate) struct TopicReader {
    consumer: BaseConsumer<Errors>,
    topic: String,
    brokers: String,
    partitions: usize,
    /// Of the partitions that hold anything.
    ends: Vec<(i32, i64)>,
}

impl TopicReader {
    /// A reader of `topic` with a client as [`reader_config`](super::client::reader_config) describes it. Where that
    /// sees committed messages only, a partition ends before the first transaction that is open.
    ///
    /// # Errors
    /// The topic does not exist, or the brokers do not say where it ends.
    pub(crate) fn open(config: &ClientConfig, topic: &str) -> Result<Self, TopicError> {
        let consumer: BaseConsumer<Errors> = config
            .create_with_context(Errors::default())
            .map_err(|error| TopicError::Options(told(&error)))?;
        let brokers = config.get("bootstrap.servers").unwrap_or_default().to_owned();
        let mut reader = Self { consumer, topic: topic.to_owned(), brokers, partitions: 0, ends: Vec::new() };
        for partition in reader.partition_numbers()? {
            let (beginning, end) = reader
                .consumer
                .fetch_watermarks(topic, partition, PATIENCE)
                .map_err(|error| reader.unavailable(&error))?;
            reader.partitions += 1;
            if beginning < end {
                reader.ends.push((partition, end));
            }
        }
        reader.ends.sort_unstable();
        Ok(reader)
    }

    /// Partitions of the topic.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions
    }

    /// Gives every message to `take`.
    ///
    /// # Errors
    /// What `take` says; the brokers refuse, or have sent nothing for half a minute.
    pub(crate) fn read<E: From<TopicError>>(
        &self,
        mut take: impl FnMut(&BorrowedMessage<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (partition, end) in &self.ends {
            self.begin(*partition)?;
            let mut heard = Instant::now();
            loop {
                let error = match self.consumer.poll(STEP) {
                    Some(Ok(message)) if message.partition() != *partition => continue,
                    Some(Ok(message)) if message.offset() >= *end => break,
                    Some(Ok(message)) => {
                        take(&message)?;
                        heard = Instant::now();
                        continue;
                    }
                    Some(Err(KafkaError::PartitionEOF(ended))) if ended == *partition => break,
                    Some(Err(KafkaError::PartitionEOF(_))) => continue,
                    Some(Err(error)) if is_permanent(&error) => return Err(self.unavailable(&error).into()),
                    Some(Err(error)) => error,
                    None => KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut),
                };
                if heard.elapsed() > PATIENCE {
                    return Err(self.unavailable(&error).into());
                }
            }
        }
        Ok(())
    }

    fn begin(&self, partition: i32) -> Result<(), TopicError> {
        let mut places = TopicPartitionList::new();
        places
            .add_partition_offset(&self.topic, partition, Offset::Beginning)
            .and_then(|()| self.consumer.assign(&places))
            .map_err(|error| self.unavailable(&error))
    }

    fn partition_numbers(&self) -> Result<Vec<i32>, TopicError> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.topic), PATIENCE)
            .map_err(|error| self.unavailable(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == self.topic);
        match found {
            Some(found) if found.error().is_none() && !found.partitions().is_empty() => {
                Ok(found.partitions().iter().map(|partition| partition.id()).collect())
            }
            _ => Err(TopicError::Missing { topic: self.topic.clone(), brokers: self.brokers.clone() }),
        }
    }

    fn unavailable(&self, error: &KafkaError) -> TopicError {
        TopicError::Unavailable {
            topic: self.topic.clone(),
            brokers: self.brokers.clone(),
            reason: self.consumer.context().reason().unwrap_or_else(|| told(error)),
        }
    }
}

/// An error in words, without the value of a property: it may be a password.
fn told(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, message, name, _) => format!("{name}: {}", message.trim()),
        error => error.to_string(),
    }
}

fn is_permanent(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::Fatal
        )
    )
}
