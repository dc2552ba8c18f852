//! Recordings played as if they were live.
//!
//! Every stream has a schedule that does not wait for the pipeline: its next chunk is due when its last sample would
//! have come into being, and carries that time as [`Chunk::arrival_ns`] even where it is handed over later because
//! the pipeline had no room. Latency that is counted from there holds the time that a chunk had to wait for those
//! before it, so that a pipeline that stalls cannot hide the stall by being asked less (coordinated omission).

mod clock;
mod meter;
mod player;
mod recording;
mod speed;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use clock::{Clock, WallClock};
pub(crate) use meter::Meter;
pub(crate) use player::{CHUNK_SECONDS, PlayOptions, PlayedChunk, Player};
pub use recording::{Recording, load};
pub use speed::{Speed, SpeedError};

use super::{OpenOrigin, Source, SourceError, SourceEvent};
use crate::signal::{Chunk, Origin, Position};

/// How long one call may sleep.
const STEP: Duration = Duration::from_millis(100);

/// Plays recordings into a pipeline, in memory.
pub(crate) struct ReplaySource<C> {
    player: Player,
    clock: C,
    /// Nanoseconds of wall time after which the play ends; none: at the player's own end.
    end_ns: Option<i64>,
    /// What `{topic}` stands for in the pipeline's sinks.
    topic: Arc<str>,
    meter: Arc<Meter>,
    phase: Phase,
    /// Chunks handed over, which are their positions.
    chunks: i64,
    /// True if something was handed over since the last idle event, behind which it leaves the source's batch.
    unsent: bool,
}

enum Phase {
    Unopened,
    /// So many streams have been announced.
    Announcing(usize),
    Playing,
    Ended,
}

impl<C: Clock> ReplaySource<C> {
    /// A play that begins with its first chunk and ends after `duration` of wall time; none: at the player's end,
    /// if it has one.
    pub(crate) fn new(
        player: Player,
        clock: C,
        duration: Option<Duration>,
        topic: &str,
        meter: Arc<Meter>,
    ) -> Self {
        let end_ns = duration.map(|duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
        let phase = Phase::Unopened;
        Self { player, clock, end_ns, topic: topic.into(), meter, phase, chunks: 0, unsent: false }
    }

    fn announce(&mut self, announced: usize) -> Option<SourceEvent> {
        let info = self.player.stream_info(announced)?;
        self.phase = Phase::Announcing(announced + 1);
        Some(SourceEvent::Stream { origin: 0, info })
    }

    fn play(&mut self) -> SourceEvent {
        // The second time round after a sleep.
        for _ in 0..2 {
            let now_ns = self.clock.now_ns();
            let Some(due_ns) =
                self.player.next_due_ns().filter(|_| self.end_ns.is_none_or(|end_ns| now_ns < end_ns))
            else {
                self.meter.ended(now_ns);
                self.phase = Phase::Ended;
                return SourceEvent::End;
            };
            if !self.player.is_paced() || due_ns <= now_ns {
                match self.player.take() {
                    Some(played) => return SourceEvent::Chunk(self.chunk(played, now_ns)),
                    None => continue,
                }
            }
            if std::mem::take(&mut self.unsent) {
                return SourceEvent::Idle;
            }
            let wake_ns = self.end_ns.map_or(due_ns, |end_ns| due_ns.min(end_ns));
            let wait = Duration::from_nanos(u64::try_from(wake_ns.saturating_sub(now_ns)).unwrap_or(0));
            self.clock.sleep(wait.min(STEP));
        }
        SourceEvent::Idle
    }

    fn chunk(&mut self, played: PlayedChunk, now_ns: i64) -> Chunk {
        let start_ns = self.clock.start_unix_ns();
        let paced = self.player.is_paced();
        self.meter.played(&played, paced.then(|| now_ns.saturating_sub(played.due_ns)));
        let position = Position::Offset(self.chunks);
        self.chunks += 1;
        self.unsent = true;
        Chunk {
            origin: 0,
            stream: played.stream,
            position,
            arrival_ns: paced.then(|| start_ns.saturating_add(played.due_ns)),
            time_ns: Some(start_ns.saturating_add(played.time_ns)),
            after_gap: false,
            samples: played.samples,
        }
    }
}

impl<C: Clock> Source for ReplaySource<C> {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        Ok(match self.phase {
            Phase::Unopened => {
                self.phase = Phase::Announcing(0);
                let origin = Origin::Replay { topic: Arc::clone(&self.topic) };
                SourceEvent::Open(OpenOrigin {
                    index: 0,
                    origin,
                    next: 0,
                    note: None,
                    windows: Vec::new(),
                    after_gap: false,
                })
            }
            Phase::Announcing(announced) => match self.announce(announced) {
                Some(stream) => stream,
                None => {
                    self.clock.start();
                    self.phase = Phase::Playing;
                    self.play()
                }
            },
            Phase::Playing => self.play(),
            Phase::Ended => SourceEvent::End,
        })
    }

    fn stop(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        if matches!(self.phase, Phase::Playing) {
            self.meter.ended(self.clock.now_ns());
            self.phase = Phase::Ended;
        }
        Ok(None)
    }

    fn total_samples(&self) -> Option<u64> {
        self.player.total_samples().filter(|_| self.end_ns.is_none())
    }
}

#[cfg(test)]
mod tests;
