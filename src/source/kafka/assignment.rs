//! Partitions that the group gives and takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::restore::{Restore, Start};
use super::{ANSWER, KafkaSource, Phase, Reset, STEP, SourceError, unavailable};
use crate::kafka::bounds;
use crate::kafka::context::{assign, unassign};
use crate::signal::Stage;

impl KafkaSource {
    /// Partitions are taken away: what was read of them is committed first, unless they are lost already.
    pub(super) fn revoke(&mut self, partitions: &TopicPartitionList) -> Result<(), SourceError> {
        let lost = self.consumer.assignment_lost();
        if lost {
            self.lost = Some(Instant::now());
        }
        let gone = |topic: &str, partition| partitions.find_partition(topic, partition).is_some();
        // What was to be taken up may go again before it was.
        self.assigned = self.assigned.take().map(|assigned| without(&assigned, &gone));
        tracing::info!(partitions = %names(partitions), lost, "partitions are taken away");
        self.ahead.retain(|message| {
            use rdkafka::Message;
            !gone(message.topic(), message.partition())
        });
        self.restores.retain_mut(|restore| !restore.forget(&|start| gone(&start.topic, start.partition)));
        let mut origins = Vec::new();
        let telemetry = Arc::clone(&self.telemetry);
        self.partitions.retain(|(topic, partition), open| {
            let stays = !gone(topic, *partition);
            if !stays {
                origins.push(open.index);
                telemetry.lag_gone(topic, *partition);
            }
            stays
        });
        if lost && self.transactional {
            // A transaction holds the partitions that stay, too. Until it is void nothing may be given up: a commit
            // that is under way would pass as that of the group's next generation.
            self.void(Some(partitions.clone()));
        } else {
            let done = self.close(origins, !lost);
            self.phase = Phase::Closing { partitions: partitions.clone(), done, since: Instant::now() };
        }
        Ok(())
    }

    pub(super) fn give_up(&mut self, partitions: &TopicPartitionList) -> Result<(), SourceError> {
        unassign(&self.consumer, partitions)
            .map_err(|error| unavailable("partitions cannot be given up", &error))
    }

    /// Takes up partitions where they were left.
    pub(super) fn take_up(&mut self, partitions: TopicPartitionList) -> Result<(), SourceError> {
        let starts = match self.starts(&partitions) {
            Ok(starts) => starts,
            Err(error) => {
                self.consumer
                    .context()
                    .reporter
                    .degraded(format!("committed offsets cannot be read; trying again: {error}"));
                self.telemetry.retry(Stage::Source);
                self.assigned = Some(partitions);
                std::thread::sleep(STEP);
                return self.poll(Duration::ZERO);
            }
        };
        let starts = starts?;
        let offsets = offsets(&starts);
        assign(&self.consumer, &offsets)
            .and_then(|()| self.consumer.pause(&offsets))
            .map_err(|error| unavailable("partitions cannot be taken", &error))?;
        if !starts.is_empty() {
            tracing::info!(partitions = %names(&offsets), "partitions are taken");
        }
        self.begin(starts)
    }

    /// Goes back to what was committed, with the partitions that are ours.
    pub(super) fn go_back(&mut self) -> Result<(), SourceError> {
        let gone_back = self
            .consumer
            .assignment()
            .and_then(|partitions| {
                self.consumer.pause(&partitions)?;
                self.starts(&partitions)
            })
            .map_err(|error| unavailable("committed offsets cannot be read", &error))?;
        let starts = gone_back?;
        if starts.is_empty() {
            return Ok(());
        }
        let sought = self
            .consumer
            .seek_partitions(offsets(&starts), ANSWER)
            .and_then(|sought| sought.elements().iter().try_for_each(|place| place.error()));
        sought.map_err(|error| unavailable("committed offsets cannot be sought", &error))?;
        // What came before the seek will come again.
        self.ahead.clear();
        self.begin(starts)
    }

    /// Opens paused partitions, at once or once their windows have been read back.
    fn begin(&mut self, starts: Vec<Start>) -> Result<(), SourceError> {
        match &self.readers {
            _ if starts.is_empty() => Ok(()),
            Some(readers) => {
                let restore = Restore::new(readers, starts)
                    .map_err(|error| unavailable(&format!("the changelog {}", readers.topic), &error))?;
                self.restores.push_back(restore);
                Ok(())
            }
            None => {
                let partitions = offsets(&starts);
                self.open_origins(starts.into_iter().map(|start| (start, Vec::new())));
                self.consumer
                    .resume(&partitions)
                    .map_err(|error| unavailable("partitions cannot be resumed", &error))
            }
        }
    }

    /// Where partitions are taken up. Waits for transactions that are about to commit their offsets.
    fn starts(&self, partitions: &TopicPartitionList) -> KafkaResult<Result<Vec<Start>, SourceError>> {
        if partitions.count() == 0 {
            return Ok(Ok(Vec::new()));
        }
        let committed = self.consumer.committed_offsets(partitions.clone(), ANSWER)?;
        let beginnings = bounds(&self.observer, partitions, Offset::Beginning, ANSWER)?;
        let ends = bounds(&self.observer, partitions, Offset::End, ANSWER)?;
        let bound = |bounds: &TopicPartitionList, topic: &str, partition| {
            let place = bounds.find_partition(topic, partition);
            place.and_then(|place| place.offset().to_raw()).unwrap_or(0)
        };
        let mut starts = Vec::with_capacity(committed.count());
        for place in committed.elements() {
            place.error()?;
            let (topic, partition) = (place.topic(), place.partition());
            let (beginning, end) = (bound(&beginnings, topic, partition), bound(&ends, topic, partition));
            let mut after_gap = false;
            let mut fresh = false;
            let next = match (place.offset(), self.reset) {
                (Offset::Offset(offset), Reset::Error) if offset < beginning || offset > end => {
                    return Ok(Err(out_of_range(topic, partition, offset, beginning, end)));
                }
                (Offset::Offset(offset), reset) if offset > end => {
                    fresh = true;
                    tracing::warn!(
                        topic,
                        partition,
                        committed = offset,
                        end,
                        "the partition ends before what was committed: it is another topic of the same name"
                    );
                    if reset == Reset::Latest { end } else { beginning }
                }
                (Offset::Offset(offset), _) if offset < beginning => {
                    after_gap = true;
                    tracing::warn!(
                        topic,
                        partition,
                        committed = offset,
                        beginning,
                        "{} messages are gone: they were deleted before they were read; going on behind them",
                        beginning - offset
                    );
                    beginning
                }
                (Offset::Offset(offset), _) => offset,
                (_, Reset::Earliest) => {
                    fresh = true;
                    beginning
                }
                (_, Reset::Latest) => {
                    fresh = true;
                    end
                }
                (_, Reset::Error) => {
                    return Ok(Err(SourceError::Refused(format!(
                        "{topic}/{partition} has no committed offset, and auto_offset_reset is \"error\""
                    ))));
                }
            };
            let note = Some(place.metadata()).filter(|note| !note.is_empty() && !fresh).map(str::to_owned);
            starts.push(Start { topic: topic.into(), partition, next, note, after_gap, end, fresh });
        }
        Ok(Ok(starts))
    }
}

fn out_of_range(topic: &str, partition: i32, committed: i64, beginning: i64, end: i64) -> SourceError {
    SourceError::Refused(format!(
        "{topic}/{partition} holds the offsets {beginning} to {end}, but {committed} was committed: messages were \
         deleted before they were read, or the topic was made anew; auto_offset_reset is \"error\""
    ))
}

fn offsets(starts: &[Start]) -> TopicPartitionList {
    let mut partitions = TopicPartitionList::new();
    for start in starts {
        let mut place = partitions.add_partition(&start.topic, start.partition);
        // An offset that was committed or found can be represented.
        let _ = place.set_offset(Offset::Offset(start.next));
    }
    partitions
}

fn without(partitions: &TopicPartitionList, gone: &dyn Fn(&str, i32) -> bool) -> TopicPartitionList {
    let mut left = TopicPartitionList::new();
    for place in partitions.elements() {
        if !gone(place.topic(), place.partition()) {
            left.add_partition(place.topic(), place.partition());
        }
    }
    left
}

fn names(partitions: &TopicPartitionList) -> String {
    let names: Vec<_> = partitions
        .elements()
        .iter()
        .map(|place| format!("{}/{}", place.topic(), place.partition()))
        .collect();
    names.join(" ")
}
