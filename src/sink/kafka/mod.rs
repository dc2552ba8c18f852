//! The Kafka sinks: packets as messages.

mod topics;
mod transactional;

pub(crate) use topics::{CreateTopic, DeadLetterTopic, Topics};
pub(crate) use transactional::{TransactionalOptions, TransactionalSink};

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

use super::{Outgoing, SampleMessage, Sink, SinkError, SinkReport};
use crate::kafka::producer::{AckProducer, told};
use crate::signal::{Checkpoint, DeadLetter, Origin, StreamIndex, StreamInfo};
use crate::telemetry::PipelineTelemetry;

/// How long the brokers may take to acknowledge what stands before a checkpoint; the pipeline starts anew then.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(600);

/// How long a look at the brokers may take.
const LOOK_WITHIN: Duration = Duration::from_millis(500);

/// Writes packets that are acknowledged one by one.
pub(crate) struct KafkaSink {
    producer: AckProducer,
    topics: Topics,
    stop: Arc<AtomicBool>,
    bytes: u64,
}

impl KafkaSink {
    /// # Errors
    /// The client cannot be made of its configuration.
    pub(crate) fn open(
        producer: &ClientConfig,
        topics: Topics,
        stop: Arc<AtomicBool>,
        telemetry: Arc<PipelineTelemetry>,
    ) -> Result<Self, SinkError> {
        let producer =
            AckProducer::new(producer, "sink", telemetry, true).map_err(|error| refused(&error))?;
        Ok(Self { producer, topics, stop, bytes: 0 })
    }
}

fn refused(error: &KafkaError) -> SinkError {
    SinkError::Refused(format!("the Kafka sink cannot start: {error}"))
}

fn undelivered(error: &KafkaError) -> SinkError {
    SinkError::Unavailable(format!("packets cannot be delivered: {}", told(error)))
}

impl Sink for KafkaSink {
    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        origin: &Origin,
    ) -> Result<(), SinkError> {
        self.topics.add(stream, info, origin)
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        if self.producer.needs_look() {
            self.producer.look(LOOK_WITHIN);
        }
        Ok(())
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        self.topics.remove(stream);
    }

    fn acknowledges_later(&self) -> bool {
        true
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let arrivals = outgoing.arrivals().collect();
        self.bytes += outgoing.bytes.len() as u64;
        self.topics.with_record(outgoing, |record| {
            self.producer.send(record, arrivals, &self.stop).map_err(|error| undelivered(&error))
        })
    }

    fn write_samples(&mut self, message: &SampleMessage) -> Result<(), SinkError> {
        self.topics.with_samples(message, |record| {
            self.bytes += record.value.len() as u64;
            let arrivals = message.arrival_ns.into_iter().collect();
            self.producer.send(record, arrivals, &self.stop).map_err(|error| undelivered(&error))
        })
    }

    fn checkpoint(&mut self, _: &Checkpoint) -> Result<(), SinkError> {
        self.producer.flush(ACKNOWLEDGE_WITHIN, &self.stop).map_err(|error| undelivered(&error))?;
        self.producer.reporter().ok();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        self.producer.flush(ACKNOWLEDGE_WITHIN, &self.stop).map_err(|error| undelivered(&error))?;
        Ok(SinkReport { bytes_written: Some(self.bytes), mirror: None })
    }
}

/// Keeps dead letters in a topic, acknowledged one by one.
pub(crate) struct DeadLetterTopicSink {
    producer: AckProducer,
    topic: DeadLetterTopic,
    stop: Arc<AtomicBool>,
}

impl DeadLetterTopicSink {
    /// # Errors
    /// The client cannot be made of its configuration.
    pub(crate) fn open(
        producer: &ClientConfig,
        topic: DeadLetterTopic,
        stop: Arc<AtomicBool>,
        telemetry: Arc<PipelineTelemetry>,
    ) -> Result<Self, SinkError> {
        let producer =
            AckProducer::new(producer, "dead_letters", telemetry, false).map_err(|error| refused(&error))?;
        Ok(Self { producer, topic, stop })
    }

    fn flush(&self) -> Result<(), SinkError> {
        self.producer.flush(ACKNOWLEDGE_WITHIN, &self.stop).map_err(|error| undelivered(&error))
    }
}

impl Sink for DeadLetterTopicSink {
    fn add_stream(&mut self, _: StreamIndex, _: &Arc<StreamInfo>, _: &Origin) -> Result<(), SinkError> {
        Ok(())
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        if self.producer.needs_look() {
            self.producer.look(LOOK_WITHIN);
        }
        Ok(())
    }

    fn is_output(&self) -> bool {
        false
    }

    fn write(&mut self, _: &Outgoing) -> Result<(), SinkError> {
        Ok(())
    }

    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), SinkError> {
        self.topic.with_record(letter, |record| {
            self.producer.send(record, Vec::new(), &self.stop).map_err(|error| undelivered(&error))
        })
    }

    fn checkpoint(&mut self, _: &Checkpoint) -> Result<(), SinkError> {
        self.flush()
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        self.flush()?;
        Ok(SinkReport::default())
    }
}
