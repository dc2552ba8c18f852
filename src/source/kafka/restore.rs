//! Reads back the windows of partitions that were taken.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::{bounds, changelog};
use crate::window::snapshot_position;

/// How long one step may take.
const STEP: Duration = Duration::from_millis(100);
/// How long the brokers may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A partition and where it is taken up.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) next: i64,
    pub(super) note: Option<String>,
    pub(super) after_gap: bool,
    /// Where the partition ends.
    pub(super) end: i64,
    /// True if nothing was committed that can be gone on with.
    pub(super) fresh: bool,
}

/// Clients that read the changelog.
#[derive(Clone, Debug)]
pub(super) struct ChangelogReaders {
    /// The changelog's topic.
    pub(super) topic: String,
    /// Sees committed records only.
    pub(super) committed: ClientConfig,
    /// Sees every record.
    pub(super) uncommitted: ClientConfig,
}

/// The windows of some partitions, being read.
pub(super) struct Restore {
    pub(super) starts: Vec<Start>,
    pub(super) started: Instant,
    /// Those of the changelog.
    partitions: TopicPartitionList,
    reader: BaseConsumer,
    observer: BaseConsumer,
    stage: Stage,
    /// By partition, then by record key.
    windows: HashMap<i32, HashMap<Vec<u8>, Window>>,
}

/// The state of a stream, and the position that it was taken with.
type Window = (i64, Vec<u8>);

enum Stage {
    /// Waiting until no transaction is open in what has to be read: its records are hidden until it ends, and so
    /// is everything behind it. Where the partitions ended at first, once that is known.
    Settling(Option<TopicPartitionList>),
    /// Partitions that have not been read to their end.
    Reading(HashSet<i32>),
}

impl Restore {
    pub(super) fn new(readers: &ChangelogReaders, starts: Vec<Start>) -> KafkaResult<Self> {
        let numbers: BTreeSet<i32> = starts.iter().map(|start| start.partition).collect();
        changelog::ensure(&readers.committed, &readers.topic, numbers.last().map_or(1, |last| last + 1))?;
        let mut partitions = TopicPartitionList::new();
        for number in numbers {
            partitions.add_partition(&readers.topic, number);
        }
        Ok(Self {
            stage: Stage::Settling(None),
            starts,
            started: Instant::now(),
            partitions,
            reader: readers.committed.create()?,
            observer: readers.uncommitted.create()?,
            windows: HashMap::new(),
        })
    }

    /// Does a piece of the work; true once all of it is done.
    pub(super) fn step(&mut self) -> KafkaResult<bool> {
        match &mut self.stage {
            Stage::Settling(ends) => {
                if ends.is_none() {
                    *ends = Some(bounds(&self.observer, &self.partitions, Offset::End, ANSWER)?);
                }
                let Some(ends) = ends else { return Ok(false) };
                let stable = bounds(&self.reader, &self.partitions, Offset::End, ANSWER)?;
                let offset = |place: &TopicPartitionListElem<'_>| place.offset().to_raw().unwrap_or(0);
                let open = stable
                    .elements()
                    .iter()
                    .zip(ends.elements())
                    .any(|(stable, end)| offset(stable) < offset(&end));
                if open {
                    std::thread::sleep(STEP);
                    return Ok(false);
                }
                let mut all = self.partitions.clone();
                all.set_all_offsets(Offset::Beginning)?;
                self.reader.assign(&all)?;
                self.stage = Stage::Reading(all.elements().iter().map(|place| place.partition()).collect());
                Ok(false)
            }
            Stage::Reading(left) => {
                let started = Instant::now();
                while !left.is_empty() && started.elapsed() < STEP {
                    match self.reader.poll(STEP) {
                        None => {}
                        Some(Err(KafkaError::PartitionEOF(partition))) => {
                            left.remove(&partition);
                        }
                        Some(Err(error)) => return Err(error),
                        Some(Ok(message)) => {
                            let Some(key) = message.key() else { continue };
                            let Some(next) = message.payload().and_then(snapshot_position) else { continue };
                            // Who has lost a partition without noticing may write behind its new owner.
                            let windows = self.windows.entry(message.partition()).or_default();
                            let newer = windows.get(key).is_none_or(|(known, _)| *known <= next);
                            if newer && is_wanted(&self.starts, message.partition(), key, next) {
                                let payload = message.payload().unwrap_or_default().to_vec();
                                windows.insert(key.to_vec(), (next, payload));
                            }
                        }
                    }
                }
                Ok(left.is_empty())
            }
        }
    }

    /// Leaves out partitions that were taken away; true if none are left.
    pub(super) fn forget(&mut self, gone: &dyn Fn(&Start) -> bool) -> bool {
        self.starts.retain(|start| !gone(start));
        self.starts.is_empty()
    }

    /// The partitions with the windows of their streams.
    pub(super) fn finish(mut self) -> impl Iterator<Item = (Start, Vec<Vec<u8>>)> {
        let starts = std::mem::take(&mut self.starts);
        starts.into_iter().map(move |start| {
            let windows = self.windows.get_mut(&start.partition).map(|windows| {
                let own = |key: &Vec<u8>| changelog::topic_of(key) == Some(&start.topic);
                windows.extract_if(|key, _| own(key)).map(|(_, (_, window))| window).collect()
            });
            (start, windows.unwrap_or_default())
        })
    }
}

/// True for a window that its partition can be gone on with. One that is ahead of the partition is that of an older
/// topic of the same name, or of a process that reads on without the right to.
fn is_wanted(starts: &[Start], partition: i32, key: &[u8], next: i64) -> bool {
    let start = starts
        .iter()
        .find(|start| start.partition == partition && changelog::topic_of(key) == Some(&start.topic));
    start.is_some_and(|start| !start.fresh && next <= start.end)
}
