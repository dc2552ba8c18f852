//! Commits positions by themselves: windows to the changelog, then offsets to the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::kafka::changelog;
use crate::kafka::context::{GroupConsumer, Reporter};
use crate::kafka::producer::{AckProducer, Record};
use crate::signal::{Checkpoint, OriginCheckpoint};
use crate::source::{Committer, SourceError};

/// How long the brokers may take to keep the windows of one checkpoint.
const KEEP_WITHIN: Duration = Duration::from_secs(300);

/// How long a look at the brokers may take.
const LOOK_WITHIN: Duration = Duration::from_millis(500);

/// Commits checkpoints at least once: what every sink has acknowledged, and after that.
pub(crate) struct KafkaCommitter {
    consumer: Arc<GroupConsumer>,
    changelog: Option<(String, AckProducer)>,
    /// What has not been committed, by topic and partition.
    pending: BTreeMap<(String, i32), OriginCheckpoint>,
    /// Set to give up waiting.
    stop: Arc<AtomicBool>,
}

impl KafkaCommitter {
    /// Commits for the group of `consumer`; windows go to the topic and producer given.
    pub(crate) fn new(
        consumer: Arc<GroupConsumer>,
        changelog: Option<(String, AckProducer)>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { consumer, changelog, pending: BTreeMap::new(), stop }
    }

    fn reporter(&self) -> &Reporter {
        &self.consumer.context().reporter
    }

    fn keep_windows(&mut self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        let Some((topic, producer)) = &mut self.changelog else { return Ok(()) };
        let failed = |error: KafkaError| SourceError::Unavailable(format!("the changelog {topic}: {error}"));
        for origin in &checkpoint.origins {
            let Some((from, partition)) = changelog::place(&origin.origin) else { continue };
            for (key, window) in &origin.windows {
                let key = changelog::record_key(from, key);
                let record = Record::new(topic, Some(partition), key.as_bytes(), window);
                producer.send(record, Vec::new(), &self.stop).map_err(failed)?;
            }
        }
        producer.flush(KEEP_WITHIN, &self.stop).map_err(failed)
    }
}

impl Committer for KafkaCommitter {
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        let committed = self.commit_pending(checkpoint);
        // Whoever has them next commits them.
        for origin in &checkpoint.closed {
            if let Some((topic, partition)) = changelog::place(origin) {
                self.pending.remove(&(topic.to_owned(), partition));
            }
        }
        committed
    }

    fn idle(&mut self) {
        if let Some((_, producer)) = self.changelog.as_ref().filter(|(_, producer)| producer.needs_look()) {
            producer.look(LOOK_WITHIN);
        }
    }
}

impl KafkaCommitter {
    fn commit_pending(&mut self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        self.keep_windows(checkpoint)?;
        for origin in &checkpoint.origins {
            let Some((topic, partition)) = changelog::place(&origin.origin) else { continue };
            let moved = OriginCheckpoint { windows: Vec::new(), ..origin.clone() };
            self.pending.insert((topic.to_owned(), partition), moved);
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        let offsets = crate::kafka::offsets(self.pending.values());
        match self.consumer.commit(&offsets, CommitMode::Sync) {
            Ok(()) => {
                self.pending.clear();
                self.reporter().ok();
                Ok(())
            }
            Err(KafkaError::ConsumerCommit(code)) => match code {
                // Partitions that are somebody else's by now: who has them reads again what was not committed.
                RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::FencedInstanceId
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::AssignmentLost
                | RDKafkaErrorCode::NoOffset => {
                    tracing::debug!("offsets are not committed, partitions are on the move: {code}");
                    self.pending.clear();
                    Ok(())
                }
                code if is_permanent(code) => {
                    Err(SourceError::Refused(format!("offsets cannot be committed: {code}")))
                }
                // The next commit has it, too.
                code => {
                    self.reporter().degraded(format!("offsets cannot be committed; trying again: {code}"));
                    Ok(())
                }
            },
            Err(error) => Err(SourceError::Unavailable(format!("offsets cannot be committed: {error}"))),
        }
    }
}

fn is_permanent(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::OffsetMetadataTooLarge
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::TopicAuthorizationFailed
    )
}
