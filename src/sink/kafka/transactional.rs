//! The Kafka sink of exactly-once pipelines: packets, windows and offsets in one transaction.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;

use super::topics::{DeadLetterTopic, Topics};
use crate::kafka::changelog;
use crate::kafka::context::{GroupConsumer, explain};
use crate::kafka::producer::{AckProducer, Record};
use crate::kafka::transaction::{Fault, TransactionError, TransactionLog, Transactions};
use crate::signal::{Checkpoint, DeadLetter, Origin, StreamIndex, StreamInfo};
use crate::sink::{Outgoing, SampleMessage, Sink, SinkError, SinkReport};
use crate::telemetry::{PipelineTelemetry, TransactionResult, seconds_since, unix_ns};

/// How long one call may take before it is made again.
const CALL: Duration = Duration::from_secs(10);
/// How long one attempt to take over the transactional id lasts; nothing can stop it meanwhile.
const INIT_STEP: Duration = Duration::from_secs(1);

/// Writes packets in transactions.
pub(crate) struct TransactionalSink {
    transactions: Transactions<KafkaLog>,
    topics: Topics,
    dead_letters: Option<DeadLetterTopic>,
    changelog: Option<String>,
    telemetry: Arc<PipelineTelemetry>,
    /// When the frames of the open transaction had come.
    arrivals: Vec<i64>,
    bytes: u64,
}

/// What a transactional sink is made of.
pub(crate) struct TransactionalOptions {
    pub(crate) producer: ClientConfig,
    pub(crate) consumer: Arc<GroupConsumer>,
    pub(crate) topics: Topics,
    pub(crate) dead_letters: Option<DeadLetterTopic>,
    pub(crate) changelog: Option<String>,
    pub(crate) stop: Arc<AtomicBool>,
    /// How long the brokers let a transaction stay open.
    pub(crate) timeout: Duration,
}

impl TransactionalSink {
    /// # Errors
    /// The client cannot be made of its configuration.
    pub(crate) fn open(
        options: TransactionalOptions,
        telemetry: Arc<PipelineTelemetry>,
    ) -> Result<Self, SinkError> {
        let producer = AckProducer::new(&options.producer, "sink", Arc::clone(&telemetry), false)
            .map_err(|error| SinkError::Refused(format!("the Kafka sink cannot start: {error}")))?;
        Ok(Self {
            transactions: Transactions::new(KafkaLog {
                producer,
                consumer: options.consumer,
                stop: options.stop,
                timeout: options.timeout,
                begun: Instant::now(),
                started: false,
            }),
            topics: options.topics,
            dead_letters: options.dead_letters,
            changelog: options.changelog,
            telemetry,
            arrivals: Vec::new(),
            bytes: 0,
        })
    }
}

impl From<TransactionError> for SinkError {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Aborted(reason) => Self::Aborted(reason),
            TransactionError::Fenced(reason) => Self::Fenced(reason),
            TransactionError::Broken(reason) => {
                Self::Unavailable(format!("transactions cannot go on: {reason}"))
            }
        }
    }
}

impl Sink for TransactionalSink {
    /// Takes over the transactional id: a process that still has it is fenced, and what it left open is aborted.
    fn start(&mut self, given_up: &dyn Fn() -> bool) -> Result<(), SinkError> {
        let log = self.transactions.log_mut();
        while !given_up() {
            match log.producer.inner().init_transactions(INIT_STEP).map_err(|error| fault(&error)) {
                Ok(()) => {
                    log.started = true;
                    log.producer.reporter().ok();
                    return Ok(());
                }
                Err(Fault::Retriable(_)) => {}
                Err(Fault::Fenced(reason)) => return Err(SinkError::Fenced(reason)),
                Err(fault) => {
                    return Err(SinkError::Unavailable(format!(
                        "transactions cannot begin: {}",
                        fault.reason()
                    )));
                }
            }
        }
        Ok(())
    }

    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        origin: &Origin,
    ) -> Result<(), SinkError> {
        self.topics.add(stream, info, origin)
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        let producer = &self.transactions.log().producer;
        if producer.reporter().is_troubled() {
            producer.look(super::LOOK_WITHIN);
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
        let Self { transactions, topics, .. } = self;
        topics.with_record(outgoing, |record| Ok(transactions.send(|| record)?))?;
        self.arrivals.extend(outgoing.arrivals());
        self.bytes += outgoing.bytes.len() as u64;
        Ok(())
    }

    fn write_samples(&mut self, message: &SampleMessage) -> Result<(), SinkError> {
        let Self { transactions, topics, arrivals, bytes, .. } = self;
        topics.with_samples(message, |record| {
            arrivals.extend(message.arrival_ns);
            *bytes += record.value.len() as u64;
            Ok(transactions.send(|| record)?)
        })
    }

    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), SinkError> {
        let Self { transactions, dead_letters, .. } = self;
        match dead_letters {
            Some(topic) => topic.with_record(letter, |record| Ok(transactions.send(|| record)?)),
            None => Ok(()),
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        if let Some(topic) = &self.changelog {
            for origin in &checkpoint.origins {
                let Some((from, partition)) = changelog::place(&origin.origin) else { continue };
                for (key, window) in &origin.windows {
                    let key = changelog::record_key(from, key);
                    let record = Record::new(topic, Some(partition), key.as_bytes(), window);
                    self.transactions.send(|| record)?;
                }
            }
        }
        let offsets = crate::kafka::offsets(checkpoint.origins.iter());
        self.transactions.commit(Some(&offsets).filter(|offsets| offsets.count() > 0))?;
        if offsets.count() > 0 {
            self.telemetry.transaction(TransactionResult::Committed);
        }
        // Where no broker was ever reached there was nothing to commit.
        if self.transactions.log().started {
            self.transactions.log().producer.reporter().ok();
        }
        let now = unix_ns();
        let arrivals = self.arrivals.drain(..);
        arrivals.for_each(|arrival| self.telemetry.frame_latency(seconds_since(arrival, now)));
        Ok(())
    }

    fn rewound(&mut self) -> Result<(), SinkError> {
        self.arrivals.clear();
        Ok(self.transactions.abort()?)
    }

    fn finish(mut self: Box<Self>) -> Result<SinkReport, SinkError> {
        // What came after the last checkpoint belongs to nobody.
        self.transactions.abort()?;
        Ok(SinkReport { bytes_written: Some(self.bytes), mirror: None })
    }
}

/// A transactional producer, with the consumer whose offsets it commits.
struct KafkaLog {
    producer: AckProducer,
    consumer: Arc<GroupConsumer>,
    stop: Arc<AtomicBool>,
    timeout: Duration,
    /// When the transaction began.
    begun: Instant,
    /// True once the transactional id is this process's.
    started: bool,
}

impl KafkaLog {
    /// What an error means. Brokers that end a transaction since it has been open for too long say the same as
    /// those that gave its id to another process. Where it can be the former the pipeline starts anew, which takes
    /// the id back: of two processes of one name, one goes on.
    fn fault(&self, error: &KafkaError) -> Fault {
        match fault(error) {
            Fault::Fenced(_) if self.begun.elapsed() >= self.timeout / 4 * 3 => Fault::Fatal(format!(
                "the brokers gave up a transaction that had been open for {:.1} s; delivery.transaction_timeout_ms is {}",
                self.begun.elapsed().as_secs_f64(),
                self.timeout.as_millis()
            )),
            fault => fault,
        }
    }

    fn group(&self) -> Result<ConsumerGroupMetadata, Fault> {
        let group = self.consumer.group_metadata();
        group.ok_or_else(|| Fault::Fatal("the consumer has no group".to_owned()))
    }
}

impl TransactionLog for KafkaLog {
    type Record<'a> = Record<'a>;
    type Offsets = TopicPartitionList;

    fn begin(&mut self) -> Result<(), Fault> {
        if !self.started {
            return Err(Fault::Fatal("no broker could be reached before the end".to_owned()));
        }
        self.producer.inner().begin_transaction().map_err(|error| fault(&error))?;
        self.begun = Instant::now();
        Ok(())
    }

    fn send(&mut self, record: Record<'_>) -> Result<(), Fault> {
        self.producer.send(record, Vec::new(), &self.stop).map_err(|error| self.fault(&error))
    }

    fn send_offsets(&mut self, offsets: &TopicPartitionList) -> Result<(), Fault> {
        let group = self.group()?;
        self.producer
            .inner()
            .send_offsets_to_transaction(offsets, &group, CALL)
            .map_err(|error| self.fault(&error))
    }

    fn commit(&mut self) -> Result<(), Fault> {
        // librdkafka waits for acknowledgements, too, but looks for them ten times a second only.
        self.producer.flush(CALL, &self.stop).map_err(|error| match error {
            KafkaError::Flush(_) => Fault::Abortable(format!(
                "messages were not acknowledged within {} s: do the topics that are written to exist, and can their \
                 brokers be reached?",
                CALL.as_secs()
            )),
            error => self.fault(&error),
        })?;
        self.producer.inner().commit_transaction(CALL).map_err(|error| self.fault(&error))
    }

    fn abort(&mut self) -> Result<(), Fault> {
        let aborted = self.producer.inner().abort_transaction(CALL).map_err(|error| self.fault(&error));
        // What could not be delivered is void like the rest.
        let _ = self.producer.failure();
        aborted
    }
}

/// What an error of a transactional call means; librdkafka says of those that are none of its three kinds that
/// the producer cannot go on.
fn fault(error: &KafkaError) -> Fault {
    let KafkaError::Transaction(inner) = error else { return delivery_fault(error) };
    let reason = inner.string();
    match inner.code() {
        RDKafkaErrorCode::Fenced
        | RDKafkaErrorCode::ProducerFenced
        | RDKafkaErrorCode::InvalidProducerEpoch => Fault::Fenced(format!(
            "fenced: another process has taken over this one's transactional id ({reason}); this one stops \
                 so that nothing is written twice. Give each process its own delivery.instance"
        )),
        _ if inner.is_retriable() => Fault::Retriable(reason),
        _ if inner.txn_requires_abort() => Fault::Abortable(reason),
        code => Fault::Fatal(explain(code, &reason)),
    }
}

/// What it means that a message of a transaction cannot be delivered.
fn delivery_fault(error: &KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(
            code @ (RDKafkaErrorCode::Fenced
            | RDKafkaErrorCode::ProducerFenced
            | RDKafkaErrorCode::InvalidProducerEpoch),
        ) => Fault::Fenced(format!(
            "fenced: another process has taken over this one's transactional id ({code}); this one stops so that \
             nothing is written twice. Give each process its own delivery.instance"
        )),
        Some(RDKafkaErrorCode::Fatal) => Fault::Fatal(error.to_string()),
        // The transaction that the message belongs to cannot be committed without it.
        _ => Fault::Abortable(error.to_string()),
    }
}
