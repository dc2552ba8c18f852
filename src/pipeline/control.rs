//! What the stages of a run tell each other beside their queues.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::signal::Checkpoint;

/// How far a run is; read by whoever shows progress, written by the stages.
#[derive(Debug, Default)]
pub struct Progress {
    /// Samples that have left in packets.
    pub samples: AtomicU64,
    /// Bytes of those packets.
    pub packet_bytes: AtomicU64,
    /// Set to stop reading; what was read still leaves.
    pub stop: AtomicBool,
    /// Origins that the source has opened.
    pub(super) opened: AtomicU64,
    /// The number of the last barrier whose checkpoint was committed.
    pub(super) committed: AtomicU64,
    /// Set by a sink whose transaction was aborted, cleared by the source.
    rewind: AtomicBool,
}

impl Progress {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn request_rewind(&self) {
        self.rewind.store(true, Ordering::Release);
    }

    pub(super) fn take_rewind(&self) -> bool {
        self.rewind.swap(false, Ordering::AcqRel)
    }
}

/// Passes through every sink behind what belongs to it.
#[derive(Debug)]
pub(super) struct Barrier {
    /// What is committed once every sink has it; none where the sinks take back what they have.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Counts the barriers of a run from 1.
    pub(super) number: u64,
    pub(super) started: Instant,
    sinks: AtomicUsize,
    failed: AtomicBool,
    done: Mutex<Option<SyncSender<()>>>,
    in_flight: Arc<AtomicUsize>,
}

impl Barrier {
    /// A barrier for so many sinks; `done` is told at its end, whatever that is.
    pub(super) fn new(
        checkpoint: Option<Checkpoint>,
        number: u64,
        sinks: usize,
        done: Option<SyncSender<()>>,
        in_flight: &Arc<AtomicUsize>,
    ) -> Self {
        in_flight.fetch_add(1, Ordering::AcqRel);
        Self {
            checkpoint,
            number,
            started: Instant::now(),
            sinks: AtomicUsize::new(sinks),
            failed: AtomicBool::new(false),
            done: Mutex::new(done),
            in_flight: Arc::clone(in_flight),
        }
    }

    /// A sink could not do its part.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// A sink has done its part; the last one hands the barrier on. False if nobody commits any more.
    pub(super) fn pass(self: &Arc<Self>, commits: &Sender<Arc<Self>>) -> bool {
        self.sinks.fetch_sub(1, Ordering::AcqRel) > 1 || commits.send(Arc::clone(self)).is_ok()
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        let done = self.done.get_mut().ok().and_then(Option::take);
        // Whoever waited may have given up.
        let _ = done.map(|done| done.try_send(()));
    }
}
