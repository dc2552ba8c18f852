//! The tests' own side of the broker: topics, messages in, messages out, offsets of groups.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Headers, Message as _};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use super::wait::wait_for;

/// For one request to the broker.
const REQUEST: Duration = Duration::from_secs(10);
/// For what needs several, and for topics to become known.
const DEADLINE: Duration = Duration::from_secs(60);

/// Access to one broker, in the clear.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
}

impl Client {
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// Asks the broker for its metadata.
    ///
    /// # Errors
    /// It does not answer within `timeout`.
    pub fn ready(&self, timeout: Duration) -> Result<(), String> {
        let metadata = self.consumer(&[]).fetch_metadata(None, timeout).map_err(|error| error.to_string())?;
        if metadata.brokers().is_empty() { Err("no broker is up".into()) } else { Ok(()) }
    }

    /// Creates a topic and waits until it can be used.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: usize) {
        let new = NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(1));
        let results = block_on(self.admin().create_topics([&new], &AdminOptions::new())).expect("an answer");
        assert!(results.iter().all(Result::is_ok), "{topic}: {results:?}");
        self.await_partitions(topic, partitions);
    }

    /// Adds partitions to a topic until it has `partitions`.
    #[track_caller]
    pub fn grow_topic(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let results =
            block_on(self.admin().create_partitions([&new], &AdminOptions::new())).expect("an answer");
        assert!(results.iter().all(Result::is_ok), "{topic}: {results:?}");
        self.await_partitions(topic, partitions);
    }

    /// True if the topic exists.
    pub fn has_topic(&self, topic: &str) -> bool {
        self.topics().iter().any(|name| name == topic)
    }

    /// The names of all topics.
    pub fn topics(&self) -> Vec<String> {
        let metadata = self.consumer(&[]).fetch_metadata(None, REQUEST).expect("metadata");
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }

    /// A producer of messages that none is lost of, nor repeated or reordered within a partition.
    pub fn producer(&self) -> Producer {
        let deliveries = Deliveries::default();
        let failed = Arc::clone(&deliveries.failed);
        let inner = self
            .config(&[
                ("enable.idempotence", "true"),
                ("linger.ms", "5"),
                ("message.timeout.ms", "300000"),
                ("message.max.bytes", "2000000"),
                ("queue.buffering.max.messages", "1000000"),
                ("reconnect.backoff.max.ms", "500"),
            ])
            .create_with_context(deliveries)
            .expect("a producer");
        Producer { inner, failed }
    }

    /// Reads a topic's committed messages as they come.
    pub fn tail(&self, topic: &str) -> Tail {
        let partitions = wait_for(&format!("metadata of {topic}"), DEADLINE, || self.partitions(topic));
        let consumer = self.consumer(&[
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", "earliest"),
            ("enable.partition.eof", "true"),
            ("fetch.wait.max.ms", "50"),
            ("reconnect.backoff.max.ms", "500"),
        ]);
        consumer.assign(&whole(topic, partitions, Offset::Beginning)).expect("an assignment");
        Tail {
            client: self.clone(),
            topic: topic.to_owned(),
            consumer,
            partitions,
            records: Vec::new(),
            at_end: BTreeSet::new(),
            error: None,
        }
    }

    /// All committed messages of a topic, once no transaction is under way in it.
    #[track_caller]
    pub fn read(&self, topic: &str) -> Vec<Record> {
        let mut tail = self.tail(topic);
        tail.read_to_end();
        tail.records
    }

    /// The offsets at which the partitions of a topic end.
    ///
    /// # Errors
    /// The broker does not answer.
    pub fn ends(&self, topic: &str) -> Result<Vec<i64>, String> {
        self.ends_at("read_uncommitted", topic)
    }

    /// What a group has committed for each partition of a topic.
    ///
    /// # Errors
    /// The broker does not answer, or a transaction that would change it is under way.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Vec<Option<i64>>, String> {
        let partitions = self.partitions(topic)?;
        let offsets = self
            .consumer(&[("group.id", group)])
            .committed_offsets(whole(topic, partitions, Offset::Invalid), REQUEST)
            .map_err(|error| error.to_string())?;
        Ok(offsets
            .elements()
            .iter()
            .map(|element| if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None })
            .collect())
    }

    /// Messages of a topic that a group has not committed yet.
    ///
    /// # Errors
    /// As for [`Client::committed`].
    pub fn lag(&self, group: &str, topic: &str) -> Result<i64, String> {
        let (ends, committed) = (self.ends(topic)?, self.committed(group, topic)?);
        Ok(ends.iter().zip(committed).map(|(end, committed)| end - committed.unwrap_or(0)).sum())
    }

    /// Waits until a group has committed everything that is in a topic.
    #[track_caller]
    pub fn await_no_lag(&self, group: &str, topic: &str, deadline: Duration) {
        wait_for(&format!("group {group} at the end of {topic}"), deadline, || {
            match self.lag(group, topic) {
                Ok(0) => Ok(()),
                seen => Err(seen),
            }
        });
    }

    fn ends_at(&self, isolation: &str, topic: &str) -> Result<Vec<i64>, String> {
        let consumer = self.consumer(&[("isolation.level", isolation)]);
        (0..self.partitions(topic)?)
            .map(|partition| consumer.fetch_watermarks(topic, partition as i32, REQUEST))
            .map(|ends| ends.map(|(_, end)| end).map_err(|error| error.to_string()))
            .collect()
    }

    fn partitions(&self, topic: &str) -> Result<usize, String> {
        let metadata =
            self.consumer(&[]).fetch_metadata(Some(topic), REQUEST).map_err(|error| error.to_string())?;
        match metadata.topics() {
            [found] if found.error().is_none() && !found.partitions().is_empty() => {
                Ok(found.partitions().len())
            }
            found => Err(format!("{:?}", found.iter().map(|topic| topic.error()).collect::<Vec<_>>())),
        }
    }

    #[track_caller]
    fn await_partitions(&self, topic: &str, partitions: usize) {
        wait_for(&format!("{partitions} partitions of {topic}"), DEADLINE, || match self.partitions(topic) {
            Ok(found) if found == partitions => Ok(()),
            seen => Err(seen),
        });
    }

    fn config(&self, options: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).set_log_level(RDKafkaLogLevel::Error);
        config.set("allow.auto.create.topics", "false");
        for (name, value) in options {
            config.set(*name, *value);
        }
        config
    }

    fn consumer(&self, options: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.config(options);
        if !options.iter().any(|(name, _)| *name == "group.id") {
            config.set("group.id", "rivulet-tests");
        }
        config.set("enable.auto.commit", "false").create().expect("a consumer")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.address).create().expect("an admin client")
    }
}

fn whole(topic: &str, partitions: usize, offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition as i32, offset).expect("an offset");
    }
    list
}

/// Sends messages; it says so if one could not be delivered.
pub struct Producer {
    inner: ThreadedProducer<Deliveries>,
    failed: Arc<Mutex<Option<String>>>,
}

#[derive(Default)]
struct Deliveries {
    failed: Arc<Mutex<Option<String>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result
            && let Ok(mut failed) = self.failed.lock()
        {
            *failed = Some(format!("{error}: {} bytes to {}", message.payload_len(), message.topic()));
        }
    }
}

impl Producer {
    /// Queues a message; waits while the queue is full.
    #[track_caller]
    pub fn send(&self, topic: &str, partition: usize, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition as i32);
        record.key = key;
        record.payload = value;
        let started = Instant::now();
        loop {
            match self.inner.send(record) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                // A topic that has grown: the client hears of it with its next look at the metadata.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), back))
                    if started.elapsed() < DEADLINE =>
                {
                    record = back;
                    let metadata = self.inner.client().fetch_metadata(Some(topic), DEADLINE);
                    metadata.expect("metadata of the topic");
                }
                Err((error, _)) => panic!("a message to {topic}/{partition}: {error}"),
            }
        }
    }

    /// Waits until every message was delivered.
    #[track_caller]
    pub fn flush(&self) {
        let flushed = self.inner.flush(2 * DEADLINE);
        let left = self.inner.in_flight_count();
        assert!(flushed.is_ok(), "{left} messages were not delivered: {flushed:?}");
        let failed = self.failed.lock().expect("nobody panics with the lock").clone();
        assert_eq!(failed, None, "a message was not delivered");
    }
}

/// A message as a consumer sees it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The partition that it is in.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// A reader of a topic's committed messages, from its beginning.
pub struct Tail {
    client: Client,
    topic: String,
    consumer: BaseConsumer,
    partitions: usize,
    records: Vec<Record>,
    at_end: BTreeSet<i32>,
    error: Option<KafkaError>,
}

impl Tail {
    /// Takes what is there; returns the number of messages so far.
    pub fn poll(&mut self) -> usize {
        while let Some(polled) = self.consumer.poll(Duration::from_millis(1)) {
            match polled {
                Ok(message) => {
                    let headers = message.headers().into_iter().flat_map(Headers::iter);
                    self.records.push(Record {
                        partition: message.partition(),
                        offset: message.offset(),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                        headers: headers
                            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                            .collect(),
                    });
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    self.at_end.insert(partition);
                }
                // A broker that is away; the client comes back to it.
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        self.records.len()
    }

    /// As [`Tail::poll`], until nothing has come for a moment: what was committed before is in it.
    pub fn drain(&mut self) -> usize {
        const MOMENT: Duration = Duration::from_millis(200);
        let mut before = self.poll();
        let mut since = Instant::now();
        while since.elapsed() < MOMENT {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.poll();
            if now > before {
                (before, since) = (now, Instant::now());
            }
        }
        before
    }

    /// The messages so far, partition by partition in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Waits until no transaction is under way and reads to the end.
    #[track_caller]
    pub fn read_to_end(&mut self) {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        wait_for(&format!("end of the transactions in {topic}"), DEADLINE, || {
            let ends = (client.ends_at("read_committed", &topic)?, client.ends(&topic)?);
            if ends.0 == ends.1 { Ok(()) } else { Err(format!("stable and last offsets {ends:?}")) }
        });
        // What was at its end before may have grown since.
        self.at_end.clear();
        let start = TopicPartitionList::new();
        self.consumer.assign(&start).expect("no assignment");
        self.records.clear();
        self.consumer.assign(&whole(&topic, self.partitions, Offset::Beginning)).expect("an assignment");
        wait_for(&format!("end of {topic}"), DEADLINE, || {
            self.poll();
            if self.at_end.len() == self.partitions {
                Ok(())
            } else {
                Err(format!(
                    "{} messages, at the end of {:?}, {:?}",
                    self.records.len(),
                    self.at_end,
                    self.error
                ))
            }
        });
    }
}

/// Runs a future of the admin client, which is woken by a thread of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
