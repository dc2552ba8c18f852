//! The source's thread: events in batches that hold whole messages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::control::Progress;
use super::run::RunError;
use crate::signal::Position;
use crate::source::{Source, SourceEvent};

/// Events of a batch, at most but for the rest of a message.
const BATCH_EVENTS: usize = 1024;
/// Samples of a batch, about.
const BATCH_SAMPLES: usize = 1 << 15;
/// How long an event may wait for a batch to fill, where others follow it; where none does, it leaves at once.
const BATCH_AGE: Duration = Duration::from_millis(10);
/// How long the source may be left alone while the codec has no room.
const HOLD_AFTER: Duration = Duration::from_millis(500);
/// How often a full queue is looked at until then.
const RETRY_EVERY: Duration = Duration::from_millis(2);

/// True if the source came to its end, false if it was stopped. The end is passed on only where there was no
/// error, so that nothing downstream takes a part for the whole.
pub(super) fn read(
    mut source: Box<dyn Source>,
    batches: &SyncSender<Vec<SourceEvent>>,
    progress: &Progress,
    abandoned: &AtomicBool,
) -> Result<bool, RunError> {
    // What an earlier run wanted is its own affair.
    progress.take_rewind();
    let mut batch = Vec::new();
    let mut samples = 0;
    let mut position = Position::None;
    let mut since = Instant::now();
    // A source that has nothing to send does not find its queue closed.
    while !abandoned.load(Ordering::Relaxed) {
        let stopped = progress.stopped();
        if !stopped && progress.take_rewind() {
            source.rewind()?;
        }
        let event = match stopped {
            true => source.stop()?.unwrap_or(SourceEvent::End),
            false => source.next_event()?,
        };
        let end = matches!(event, SourceEvent::End);
        let at_once = match &event {
            SourceEvent::Chunk(chunk) => {
                let full = batch.len() >= BATCH_EVENTS
                    || samples >= BATCH_SAMPLES
                    || (!batch.is_empty() && since.elapsed() >= BATCH_AGE);
                let whole = chunk.position != position;
                position = chunk.position;
                if full && whole && !send(&mut batch, &mut *source, batches)? {
                    return Ok(false);
                }
                if batch.is_empty() {
                    samples = 0;
                }
                samples += chunk.samples.len();
                false
            }
            SourceEvent::Packet(message) => {
                position = message.position;
                samples += message.value.len();
                // It is a whole message, whose bytes stand for the work that it makes.
                batch.len() >= BATCH_EVENTS
                    || samples >= BATCH_SAMPLES
                    || (!batch.is_empty() && since.elapsed() >= BATCH_AGE)
            }
            SourceEvent::DeadLetter { letter, .. } => {
                position = letter.position;
                false
            }
            SourceEvent::Passed { position: passed, .. } => {
                position = *passed;
                false
            }
            SourceEvent::Stream { .. } => false,
            _ => true,
        };
        if !matches!(event, SourceEvent::Idle) {
            if batch.is_empty() {
                since = Instant::now();
            }
            batch.push(event);
        }
        if at_once {
            let sent = batch.is_empty() || send(&mut batch, &mut *source, batches)?;
            samples = 0;
            if !sent || end {
                return Ok(end && !stopped);
            }
        }
    }
    Ok(false)
}

/// Sends a batch and keeps the source alive until there is room; false if nobody takes it any more.
fn send(
    batch: &mut Vec<SourceEvent>,
    source: &mut dyn Source,
    batches: &SyncSender<Vec<SourceEvent>>,
) -> Result<bool, RunError> {
    let started = Instant::now();
    let hold_after = if source.is_held_at_once() { Duration::ZERO } else { HOLD_AFTER };
    let mut waiting = std::mem::take(batch);
    loop {
        waiting = match batches.try_send(waiting) {
            Ok(()) => return Ok(true),
            Err(TrySendError::Disconnected(_)) => return Ok(false),
            Err(TrySendError::Full(waiting)) => waiting,
        };
        if started.elapsed() < hold_after {
            std::thread::sleep(RETRY_EVERY);
        } else if !source.hold()? {
            return Ok(batches.send(waiting).is_ok());
        }
    }
}
