//! A producer that knows what was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use super::context::{Reporter, explain};
use crate::telemetry::{PipelineTelemetry, seconds_since, unix_ns};

/// How long a full queue is left alone.
const FULL_WAIT: Duration = Duration::from_millis(5);
/// How long it may take to hear of a partition that is there.
const HEAR_WITHIN: Duration = Duration::from_secs(5);
/// How long one step of a flush takes.
const FLUSH_STEP: Duration = Duration::from_millis(200);

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a str,
    /// None: the partitioner chooses by key.
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: &'a [u8],
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Record<'a> {
    /// A record without headers.
    pub(crate) fn new(topic: &'a str, partition: Option<i32>, key: &'a [u8], value: &'a [u8]) -> Self {
        Self { topic, partition, key: Some(key), value, headers: &[] }
    }
}

/// What a delivered message tells: when its frames had come.
type Arrivals = Box<Vec<i64>>;

/// Counts what is acknowledged and keeps the first failure.
pub(crate) struct AckContext {
    reporter: Reporter,
    telemetry: Arc<PipelineTelemetry>,
    /// True if latency ends with the delivery; in a transaction it ends with the commit.
    measures_latency: bool,
    failure: Mutex<Option<KafkaError>>,
    acknowledged: AtomicU64,
    /// Messages that were sent and neither delivered nor given up.
    outstanding: Mutex<u64>,
    settled: Condvar,
}

impl ClientContext for AckContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        ClientContext::log(&self.reporter, level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        ClientContext::error(&self.reporter, error, reason);
    }
}

impl ProducerContext for AckContext {
    type DeliveryOpaque = Arrivals;

    fn delivery(&self, result: &DeliveryResult<'_>, arrivals: Self::DeliveryOpaque) {
        match result {
            Ok(_) => {
                if self.acknowledged.fetch_add(1, Ordering::Relaxed).is_multiple_of(64) {
                    self.reporter.ok();
                }
                if self.measures_latency {
                    let now = unix_ns();
                    arrivals
                        .iter()
                        .for_each(|arrival| self.telemetry.frame_latency(seconds_since(*arrival, now)));
                }
            }
            Err((error, _)) => {
                self.failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert_with(|| error.clone());
            }
        }
        self.settle();
    }
}

impl AckContext {
    fn outstanding(&self) -> MutexGuard<'_, u64> {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self) {
        let mut outstanding = self.outstanding();
        *outstanding = outstanding.saturating_sub(1);
        if *outstanding == 0 {
            self.settled.notify_all();
        }
    }
}

/// A producer that sends in order and says whether all of it has arrived.
pub(crate) struct AckProducer {
    producer: ThreadedProducer<AckContext>,
}

impl AckProducer {
    /// # Errors
    /// The client cannot be made of its configuration.
    pub(crate) fn new(
        config: &ClientConfig,
        component: &'static str,
        telemetry: Arc<PipelineTelemetry>,
        measures_latency: bool,
    ) -> Result<Self, KafkaError> {
        let context = AckContext {
            reporter: Reporter::new(component, Arc::clone(&telemetry)),
            telemetry,
            measures_latency,
            failure: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            outstanding: Mutex::default(),
            settled: Condvar::new(),
        };
        Ok(Self { producer: config.create_with_context(context)? })
    }

    fn context(&self) -> &AckContext {
        self.producer.client().context()
    }

    pub(crate) fn inner(&self) -> &ThreadedProducer<AckContext> {
        &self.producer
    }

    pub(crate) fn reporter(&self) -> &Reporter {
        &self.context().reporter
    }

    /// Hands a message to the client; waits while its queue is full, until `stop`.
    ///
    /// # Errors
    /// The message cannot be sent, or an earlier one could not be delivered.
    pub(crate) fn send(
        &self,
        record: Record<'_>,
        arrivals: Vec<i64>,
        stop: &AtomicBool,
    ) -> Result<(), KafkaError> {
        self.send_at(record, None, arrivals, stop)
    }

    /// As [`AckProducer::send`], with the message's time in milliseconds since the Unix epoch; none: now.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn send_at(
        &self,
        record: Record<'_>,
        time_ms: Option<i64>,
        arrivals: Vec<i64>,
        stop: &AtomicBool,
    ) -> Result<(), KafkaError> {
        self.failure()?;
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in record.headers {
            headers = headers.insert(Header { key, value: Some(*value) });
        }
        let mut message = BaseRecord::with_opaque_to(record.topic, Box::new(arrivals))
            .payload(record.value)
            .headers(headers);
        message.key = record.key;
        message.partition = record.partition;
        message.timestamp = time_ms;
        let context = self.context();
        *context.outstanding() += 1;
        let started = Instant::now();
        loop {
            message = match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((error, message)) if !stop.load(Ordering::Relaxed) && is_full(&error) => message,
                Err((error, message)) if is_unheard_of(&error) && started.elapsed() < HEAR_WITHIN => {
                    // A topic that has grown: what this client knows of it may be old.
                    let _ = self.producer.client().fetch_metadata(Some(record.topic), HEAR_WITHIN);
                    message
                }
                Err((error, _)) => {
                    context.settle();
                    return Err(error);
                }
            };
            std::thread::sleep(FULL_WAIT);
            self.failure().inspect_err(|_| context.settle())?;
        }
    }

    /// Waits until everything that was sent has been acknowledged, or `stop`.
    ///
    /// # Errors
    /// Something could not be delivered, or not within `within`.
    pub(crate) fn flush(&self, within: Duration, stop: &AtomicBool) -> Result<(), KafkaError> {
        let started = Instant::now();
        let context = self.context();
        let mut outstanding = context.outstanding();
        while *outstanding > 0 {
            if started.elapsed() >= within || stop.load(Ordering::Relaxed) {
                return Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut));
            }
            let waited = context.settled.wait_timeout(outstanding, FLUSH_STEP);
            outstanding = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(outstanding);
        self.failure()
    }

    /// True where it is not known that all is well.
    pub(crate) fn needs_look(&self) -> bool {
        self.reporter().is_troubled() || self.context().acknowledged.load(Ordering::Relaxed) == 0
    }

    /// Asks whether the brokers are there, and takes back a complaint if they are.
    pub(crate) fn look(&self, within: Duration) {
        if self.producer.client().fetch_metadata(None, within).is_ok() {
            self.reporter().ok();
        }
    }

    /// The first failure since the last call.
    ///
    /// # Errors
    /// That failure.
    pub(crate) fn failure(&self) -> Result<(), KafkaError> {
        let failure = self.context().failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn is_unheard_of(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownPartition)
}

fn is_full(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
}

/// A failure to deliver in words, with what to do.
pub(crate) fn told(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => explain(code, &code.to_string()),
        None => error.to_string(),
    }
}
