//! A sink's thread, and the thread that commits what every sink has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::control::{Barrier, Progress};
use super::encoding::ForSink;
use super::run::RunError;
use crate::sink::{Outgoing, Sink, SinkError, SinkReport};
use crate::source::Committer;
use crate::telemetry::{PipelineTelemetry, TransactionResult, seconds_since, unix_ns};

/// Transactions that may be aborted one after the other before the pipeline starts anew.
const MAX_ABORTS: u32 = 5;

/// A sink that gets nothing for so long is idle.
const IDLE_AFTER: Duration = Duration::from_secs(2);

/// What a sink's thread works with.
pub(super) struct Writing {
    pub(super) sink: Box<dyn Sink>,
    pub(super) commits: Sender<Arc<Barrier>>,
    pub(super) progress: Arc<Progress>,
    pub(super) telemetry: Arc<PipelineTelemetry>,
    /// Set where the run has failed elsewhere.
    pub(super) abandoned: Arc<AtomicBool>,
    /// True if the latency of frames is that of this sink.
    pub(super) measures_latency: bool,
}

impl Writing {
    /// None where the run failed before everything was sent.
    pub(super) fn run(mut self, messages: &Receiver<Arc<ForSink>>) -> Result<Option<SinkReport>, RunError> {
        let (progress, abandoned) = (Arc::clone(&self.progress), Arc::clone(&self.abandoned));
        self.sink.start(&|| progress.stopped() || abandoned.load(Ordering::Relaxed))?;
        // Void until the source has gone back.
        let mut void = false;
        let mut aborts = 0;
        let mut commits = Commits::default();
        loop {
            let message = match messages.recv_timeout(IDLE_AFTER) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    commits.tell(&self.progress, self.sink.as_mut())?;
                    self.sink.idle()?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            };
            commits.tell(&self.progress, self.sink.as_mut())?;
            let written = match message.as_ref() {
                ForSink::Stream(stream, info, origin) => self.sink.add_stream(*stream, info, origin),
                ForSink::Gone(stream) => {
                    self.sink.remove_stream(*stream);
                    Ok(())
                }
                ForSink::Packet(_) | ForSink::Samples(_) | ForSink::DeadLetter(_) if void => Ok(()),
                ForSink::Packet(outgoing) => self.write(outgoing),
                ForSink::Samples(message) => self.sink.write_samples(message),
                ForSink::DeadLetter(letter) => self.sink.dead_letter(letter),
                ForSink::Barrier(barrier) => {
                    let passed = match &barrier.checkpoint {
                        None => {
                            void = false;
                            // Whoever wanted to go back has been heard.
                            self.progress.take_rewind();
                            self.sink.rewound()
                        }
                        Some(_) if void => {
                            barrier.fail();
                            Ok(())
                        }
                        Some(checkpoint) => self.sink.checkpoint(checkpoint),
                    };
                    if passed.is_err() {
                        barrier.fail();
                    } else if barrier.checkpoint.is_some() && !void {
                        aborts = 0;
                        commits.passed(barrier);
                    }
                    if !barrier.pass(&self.commits) {
                        return Ok(None);
                    }
                    passed
                }
                ForSink::End => return Ok(Some(self.sink.finish()?)),
            };
            match written {
                Ok(()) => {}
                Err(SinkError::Aborted(reason)) => {
                    aborts += 1;
                    self.telemetry.transaction(TransactionResult::Aborted);
                    if aborts >= MAX_ABORTS {
                        let reason =
                            format!("{aborts} transactions were aborted one after the other, last: {reason}");
                        return Err(SinkError::Unavailable(reason).into());
                    }
                    tracing::warn!(
                        "a transaction was aborted and nothing of it can be seen; going back to the last commit: {reason}"
                    );
                    void = true;
                    self.progress.request_rewind();
                }
                Err(error) => {
                    if let SinkError::Fenced(_) = error {
                        self.telemetry.transaction(TransactionResult::Fenced);
                    }
                    return Err(error.into());
                }
            }
        }
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        self.sink.write(outgoing)?;
        if self.measures_latency {
            let now = unix_ns();
            outgoing.arrivals().for_each(|arrival| self.telemetry.frame_latency(seconds_since(arrival, now)));
        }
        Ok(())
    }
}

/// The checkpoints that a sink has passed and does not know to be committed.
#[derive(Default)]
struct Commits {
    /// The numbers of their barriers.
    waiting: VecDeque<u64>,
    committed: u64,
}

impl Commits {
    fn passed(&mut self, barrier: &Barrier) {
        self.waiting.push_back(barrier.number);
    }

    /// Tells the sink what has been committed since it was told last.
    fn tell(&mut self, progress: &Progress, sink: &mut dyn Sink) -> Result<(), SinkError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let last = progress.committed.load(Ordering::Acquire);
        let before = self.committed;
        while self.waiting.front().is_some_and(|number| *number <= last) {
            self.waiting.pop_front();
            self.committed += 1;
        }
        if self.committed > before { sink.committed(self.committed) } else { Ok(()) }
    }
}

/// Commits what has passed every sink, in order.
pub(super) fn commit(
    mut committer: Option<Box<dyn Committer>>,
    barriers: &Receiver<Arc<Barrier>>,
    progress: &Progress,
    telemetry: &PipelineTelemetry,
) -> Result<(), RunError> {
    loop {
        let barrier = match barriers.recv_timeout(IDLE_AFTER) {
            Ok(barrier) => barrier,
            Err(RecvTimeoutError::Timeout) => {
                committer.iter_mut().for_each(|committer| committer.idle());
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let Some(checkpoint) = barrier.checkpoint.as_ref().filter(|_| !barrier.has_failed()) else {
            continue;
        };
        if let Some(committer) = &mut committer {
            committer.commit(checkpoint)?;
        }
        progress.committed.store(barrier.number, Ordering::Release);
        telemetry.commit(barrier.started.elapsed().as_secs_f64());
        telemetry.checkpoint();
    }
}
