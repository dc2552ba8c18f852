//! The Kafka source: topics of messages that hold samples.
//!
//! The thread that calls [`KafkaSource::next_event`] is the only one that polls. librdkafka is not allowed to give
//! partitions away before everything that was read of them has been committed, or will not be: a rebalance closes
//! the origins of its partitions and waits until the pipeline has done so. Partitions that are taken are paused
//! until the windows of their streams have been read back from the changelog.

mod assignment;
mod committer;
mod messages;
mod restore;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

pub(crate) use committer::KafkaCommitter;
use messages::Partition;
pub(crate) use messages::{MAX_KEY_BYTES, packet_source, text_of};
use restore::{ChangelogReaders, Restore, Start};

use super::decoding::{MessageDecoder, Record};
use super::{CloseOrigins, OpenOrigin, Source, SourceError, SourceEvent};
use crate::kafka::context::{GroupConsumer, GroupContext, Rebalance, Reporter, assign, unassign};
use crate::signal::{Origin, OriginIndex};
use crate::telemetry::PipelineTelemetry;

/// How long one call may take.
const STEP: Duration = Duration::from_millis(100);
/// How long the pipeline may take to commit what was read of partitions that are being given up.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);
/// How long the windows of partitions may stay out of reach.
const RESTORE_WITHIN: Duration = Duration::from_secs(60);
/// Partitions that were lost this long ago have to do with what the group says now.
const LOST_WITHIN: Duration = Duration::from_secs(120);
/// Those that were lost this shortly ago were lost by it.
const LOST_BEFORE: Duration = Duration::from_millis(200);
/// How often the distance to the end of the partitions is looked up.
const LAG_EVERY: Duration = Duration::from_secs(2);
/// How long the brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What the source reads, and how.
#[derive(Debug)]
pub(crate) struct KafkaSourceOptions {
    /// A consumer of the group.
    pub(crate) consumer: ClientConfig,
    /// A consumer without a group that sees what is committed and is told of ends.
    pub(crate) committed: ClientConfig,
    /// The same, but it sees everything.
    pub(crate) uncommitted: ClientConfig,
    /// Names, and patterns that begin with `^`.
    pub(crate) topics: Vec<String>,
    /// Where a partition without a committed offset is taken up.
    pub(crate) reset: Reset,
    /// The header that holds the stream key; where none, the message key.
    pub(crate) key_header: Option<String>,
    /// How messages become samples; none where they hold packets, which are passed on as they are.
    pub(crate) decoder: Option<MessageDecoder>,
    /// The topic of open windows; none where one stream a partition is read again from its open frame.
    pub(crate) changelog: Option<String>,
    /// True if offsets are committed in the sink's transactions.
    pub(crate) transactional: bool,
    /// Streams that there is room for.
    pub(crate) max_streams: usize,
}

/// Where a partition without a committed offset is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// At its beginning.
    Earliest,
    /// At its end.
    Latest,
    /// Nowhere: it is an error.
    Error,
}

/// Reads messages of Kafka topics.
pub(crate) struct KafkaSource {
    consumer: Arc<GroupConsumer>,
    /// Asks for the bounds of partitions.
    observer: BaseConsumer,
    readers: Option<ChangelogReaders>,
    reset: Reset,
    key_header: Option<String>,
    decoder: Option<MessageDecoder>,
    transactional: bool,
    max_streams: usize,
    telemetry: Arc<PipelineTelemetry>,
    partitions: HashMap<(Arc<str>, i32), Partition>,
    /// The names of their topics.
    topics: HashSet<Arc<str>>,
    opened: OriginIndex,
    phase: Phase,
    /// Partitions that wait to be taken up.
    assigned: Option<TopicPartitionList>,
    restores: VecDeque<Restore>,
    ready: VecDeque<SourceEvent>,
    /// Messages that came while the pipeline had no room.
    ahead: VecDeque<OwnedMessage>,
    /// Reused between messages.
    records: Vec<Record>,
    held: bool,
    /// When partitions were last lost without having been given up.
    lost: Option<Instant>,
    /// True if the last poll brought no message.
    quiet: bool,
    lag_due: Instant,
}

enum Phase {
    Reading,
    /// Waiting for the pipeline to finish with partitions before they are given up.
    Closing {
        partitions: TopicPartitionList,
        done: Receiver<()>,
        since: Instant,
    },
    /// Waiting for the sinks to take back what was not committed.
    Rewinding {
        /// Partitions that are given up then.
        lost: Option<TopicPartitionList>,
        done: Receiver<()>,
        since: Instant,
    },
    /// Waiting for the last commit.
    Stopping {
        done: Receiver<()>,
        since: Instant,
    },
    Stopped,
}

impl KafkaSource {
    /// Joins the group. Nothing is known of the brokers then: what is wrong with them shows in the pipeline's health.
    ///
    /// # Errors
    /// The client cannot be made of its configuration.
    pub(crate) fn open(
        options: KafkaSourceOptions,
        telemetry: Arc<PipelineTelemetry>,
    ) -> Result<Self, SourceError> {
        let refused =
            |error: KafkaError| SourceError::Refused(format!("the Kafka source cannot start: {error}"));
        let context = GroupContext::new(Reporter::new("source", Arc::clone(&telemetry)));
        let consumer: GroupConsumer = options.consumer.create_with_context(context).map_err(refused)?;
        let observer = options.committed.create().map_err(refused)?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(refused)?;
        Ok(Self {
            consumer: Arc::new(consumer),
            observer,
            readers: options.changelog.map(|topic| ChangelogReaders {
                topic,
                committed: options.committed,
                uncommitted: options.uncommitted,
            }),
            reset: options.reset,
            key_header: options.key_header,
            decoder: options.decoder,
            transactional: options.transactional,
            max_streams: options.max_streams,
            telemetry,
            partitions: HashMap::new(),
            topics: HashSet::new(),
            opened: 0,
            phase: Phase::Reading,
            assigned: None,
            restores: VecDeque::new(),
            ready: VecDeque::new(),
            ahead: VecDeque::new(),
            records: Vec::new(),
            held: false,
            lost: None,
            quiet: true,
            lag_due: Instant::now() + LAG_EVERY,
        })
    }

    /// The consumer, for who commits.
    pub(crate) fn consumer(&self) -> &Arc<GroupConsumer> {
        &self.consumer
    }

    /// One step: an event, if there is one.
    fn step(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        if let Some(event) = self.ready.pop_front() {
            return Ok(Some(event));
        }
        if !matches!(self.phase, Phase::Reading) {
            return self.wait();
        }
        if let Some(rebalance) = self.consumer.context().next_rebalance() {
            match rebalance {
                Rebalance::Assign(partitions) => self.assigned = Some(partitions),
                Rebalance::Revoke(partitions) => self.revoke(&partitions)?,
            }
            return Ok(self.ready.pop_front());
        }
        if let Some(partitions) = self.assigned.take() {
            self.take_up(partitions)?;
            return Ok(self.ready.pop_front());
        }
        if self.held {
            self.held = false;
            self.pause(false)?;
        }
        if let Some(message) = self.ahead.pop_front() {
            self.read(&message);
            return Ok(self.ready.pop_front());
        }
        if let Some(restore) = self.restores.front_mut() {
            let step = restore.step();
            // The group and the partitions that are open already do not wait for those that are not: these are paused.
            self.poll(Duration::ZERO)?;
            let Some(restore) = self.restores.front() else { return Ok(self.ready.pop_front()) };
            match step {
                Ok(true) => self.restored()?,
                Ok(false) => {}
                Err(error) if restore.started.elapsed() < RESTORE_WITHIN => {
                    let reason = format!("the windows cannot be read back; trying again: {error}");
                    self.consumer.context().reporter.degraded(reason);
                    std::thread::sleep(STEP);
                }
                Err(error) => return Err(unavailable("the windows cannot be read back", &error)),
            }
            return Ok(self.ready.pop_front());
        }
        if self.lag_due <= Instant::now() {
            self.look_up_lag();
        }
        // What was read leaves before this waits for more.
        let waits = std::mem::replace(&mut self.quiet, true);
        self.poll(if waits { STEP } else { Duration::ZERO })?;
        Ok(self.ready.pop_front())
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), SourceError> {
        let consumer = Arc::clone(&self.consumer);
        match consumer.poll(timeout) {
            None => Ok(()),
            Some(Ok(message)) => {
                self.quiet = false;
                self.read(&message);
                Ok(())
            }
            Some(Err(error)) => self.complain(error),
        }
    }

    /// What librdkafka says is wrong; most of it passes, and was told as health.
    fn complain(&mut self, error: KafkaError) -> Result<(), SourceError> {
        match error {
            KafkaError::MessageConsumptionFatal(code) => match code {
                // A member whose answer was lost in an outage joins twice, and the second time fences the first.
                RDKafkaErrorCode::FencedInstanceId if self.lost_lately() => Err(SourceError::Unavailable(
                    "the group took this process for two after an outage; joining it anew".to_owned(),
                )),
                RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::Fenced => {
                    Err(SourceError::Fenced(format!(
                        "fenced: another process has joined the group under this one's name ({code}); give each its own \
                     delivery.instance or source.group_instance_id"
                    )))
                }
                code => Err(SourceError::Unavailable(format!("the consumer cannot go on: {code}"))),
            },
            // Taking the partitions up again tells what is missing.
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                Err(SourceError::Unavailable(
                    "messages were deleted before they were read; taking the partitions up again".to_owned(),
                ))
            }
            _ => Ok(()),
        }
    }

    /// True if partitions were lost before whatever has just been said.
    fn lost_lately(&self) -> bool {
        self.lost.is_some_and(|lost| (LOST_BEFORE..LOST_WITHIN).contains(&lost.elapsed()))
    }

    /// Waits for the pipeline, and goes on once it is ready.
    fn wait(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        let (done, since) = match &self.phase {
            Phase::Closing { done, since, .. }
            | Phase::Rewinding { done, since, .. }
            | Phase::Stopping { done, since } => (done, *since),
            Phase::Reading | Phase::Stopped => return Ok(None),
        };
        match done.recv_timeout(STEP) {
            Err(RecvTimeoutError::Timeout) if since.elapsed() < CLOSE_WITHIN => {
                return Ok(Some(SourceEvent::Idle));
            }
            Err(RecvTimeoutError::Timeout) => {
                return Err(SourceError::Unavailable(format!(
                    "what was read could not be committed within {} s",
                    CLOSE_WITHIN.as_secs()
                )));
            }
            // Without an answer the run has failed elsewhere, and says why.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        }
        match std::mem::replace(&mut self.phase, Phase::Reading) {
            Phase::Closing { partitions, .. } => self.give_up(&partitions)?,
            Phase::Rewinding { lost, .. } => {
                lost.map_or(Ok(()), |partitions| self.give_up(&partitions))?;
                self.go_back()?;
            }
            Phase::Stopping { .. } | Phase::Stopped => self.phase = Phase::Stopped,
            Phase::Reading => {}
        }
        Ok(self.ready.pop_front())
    }

    /// Closes origins; what was read of them is committed first if that is still possible.
    fn close(&mut self, origins: Vec<OriginIndex>, commit: bool) -> Receiver<()> {
        let (done, receiver) = sync_channel(1);
        self.ready.push_back(SourceEvent::Close(CloseOrigins { origins, commit, done }));
        receiver
    }

    /// Everything since the last commit is void. Partitions that are `lost` are given up once the sinks know.
    fn void(&mut self, lost: Option<TopicPartitionList>) {
        let (done, receiver) = sync_channel(1);
        self.ready.clear();
        self.ahead.clear();
        self.restores.clear();
        for (topic, partition) in self.partitions.keys() {
            self.telemetry.lag_gone(topic, *partition);
        }
        self.partitions.clear();
        self.ready.push_back(SourceEvent::Rewound { done });
        self.phase = Phase::Rewinding { lost, done: receiver, since: Instant::now() };
    }

    /// Opens the partitions of `starts`, once their windows are there.
    fn open_origins(&mut self, starts: impl IntoIterator<Item = (Start, Vec<Vec<u8>>)>) {
        self.consumer.context().reporter.ok();
        for (start, windows) in starts {
            let index = self.opened;
            self.opened += 1;
            let Start { topic, partition, next, note, after_gap, .. } = start;
            let origin = Origin::Partition { topic: Arc::clone(&topic), partition };
            self.topics.insert(Arc::clone(&topic));
            self.partitions.insert((topic, partition), Partition::new(index, next));
            let opened = OpenOrigin { index, origin, next, note, windows, after_gap };
            self.ready.push_back(SourceEvent::Open(opened));
        }
    }

    fn restored(&mut self) -> Result<(), SourceError> {
        let Some(restore) = self.restores.pop_front() else { return Ok(()) };
        self.consumer.context().reporter.ok();
        let mut partitions = TopicPartitionList::new();
        for start in &restore.starts {
            partitions.add_partition(&start.topic, start.partition);
        }
        self.open_origins(restore.finish());
        self.consumer.resume(&partitions).map_err(|error| unavailable("partitions cannot be resumed", &error))
    }

    fn look_up_lag(&mut self) {
        self.lag_due = Instant::now() + LAG_EVERY;
        let partitions = self.open_partitions();
        if partitions.count() == 0 {
            return;
        }
        let Ok(ends) = crate::kafka::bounds(&self.observer, &partitions, Offset::End, ANSWER) else { return };
        self.consumer.context().reporter.outage_is_over();
        for end in ends.elements() {
            let place = (Arc::from(end.topic()), end.partition());
            if let (Some(open), Some(end)) = (self.partitions.get(&place), end.offset().to_raw()) {
                self.telemetry.lag(&place.0, place.1, u64::try_from(end - open.next).unwrap_or(0));
            }
        }
    }

    fn is_open(&self, topic: &str, partition: i32) -> bool {
        self.partitions.contains_key(&(Arc::from(topic), partition))
    }

    /// The partitions that are being read.
    fn open_partitions(&self) -> TopicPartitionList {
        let mut partitions = TopicPartitionList::new();
        for (topic, partition) in self.partitions.keys() {
            partitions.add_partition(topic, *partition);
        }
        partitions
    }

    /// Pauses or resumes every partition that is not waiting for its windows.
    fn pause(&self, pause: bool) -> Result<(), SourceError> {
        let partitions = self.open_partitions();
        let done = match pause {
            true => self.consumer.pause(&partitions),
            false => self.consumer.resume(&partitions),
        };
        done.map_err(|error| unavailable("partitions cannot be paused or resumed", &error))
    }
}

fn unavailable(what: &str, error: &KafkaError) -> SourceError {
    SourceError::Unavailable(format!("{what}: {error}"))
}

impl Source for KafkaSource {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        Ok(self.step()?.unwrap_or(SourceEvent::Idle))
    }

    fn hold(&mut self) -> Result<bool, SourceError> {
        if !self.held {
            self.held = true;
            self.pause(true)?;
        }
        let consumer = Arc::clone(&self.consumer);
        match consumer.poll(STEP) {
            None => {}
            // What was fetched before the pause; of what is not open nothing is kept, it will be read again.
            Some(Ok(message)) if self.is_open(message.topic(), message.partition()) => {
                self.ahead.push_back(message.detach());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => self.complain(error)?,
        }
        Ok(true)
    }

    fn stop(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            match &self.phase {
                Phase::Stopped => return Ok(None),
                Phase::Stopping { .. } | Phase::Closing { .. } | Phase::Rewinding { .. } => {
                    let waited = self.wait()?;
                    if waited.is_some() {
                        return Ok(waited);
                    }
                }
                Phase::Reading => {
                    let origins = self.partitions.values().map(|partition| partition.index).collect();
                    let done = self.close(origins, true);
                    self.phase = Phase::Stopping { done, since: Instant::now() };
                }
            }
        }
    }

    fn rewind(&mut self) -> Result<(), SourceError> {
        match std::mem::replace(&mut self.phase, Phase::Reading) {
            Phase::Closing { partitions, .. } => self.void(Some(partitions)),
            Phase::Reading => self.void(None),
            phase => self.phase = phase,
        }
        Ok(())
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.consumer.context().close();
        for (topic, partition) in self.partitions.keys() {
            self.telemetry.lag_gone(topic, *partition);
        }
        // The consumer's end would wait for ever for an answer to each rebalance that was kept. Where there is none to
        // be answered, librdkafka says so, and nobody needs to know.
        let phase = std::mem::replace(&mut self.phase, Phase::Stopped);
        if let Phase::Closing { partitions, .. } | Phase::Rewinding { lost: Some(partitions), .. } = phase {
            let _ = unassign(&self.consumer, &partitions);
        }
        let nothing = TopicPartitionList::new();
        if self.assigned.take().is_some() {
            let _ = assign(&self.consumer, &nothing);
        }
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            let _ = match rebalance {
                Rebalance::Revoke(partitions) => unassign(&self.consumer, &partitions),
                Rebalance::Assign(_) => assign(&self.consumer, &nothing),
            };
        }
    }
}
