//! How far a play has come, for whoever reports it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::player::PlayedChunk;

/// What a play has handed over, and how late.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    samples: AtomicU64,
    signal_ns: AtomicI64,
    behind_ns: AtomicI64,
    max_behind_ns: AtomicI64,
    elapsed_ns: AtomicI64,
}

impl Meter {
    /// A chunk was handed over, so long after it was due; none where nothing is ever due.
    pub(crate) fn played(&self, chunk: &PlayedChunk, behind_ns: Option<i64>) {
        self.samples.fetch_add(chunk.samples.len() as u64, Ordering::Relaxed);
        self.signal_ns.fetch_add(chunk.lasts_ns, Ordering::Relaxed);
        if let Some(behind_ns) = behind_ns {
            self.behind_ns.store(behind_ns.max(0), Ordering::Relaxed);
            self.max_behind_ns.fetch_max(behind_ns, Ordering::Relaxed);
        }
    }

    /// The play is over, so long after its start.
    pub(crate) fn ended(&self, elapsed_ns: i64) {
        self.elapsed_ns.store(elapsed_ns, Ordering::Relaxed);
    }

    /// Samples of all channels.
    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// How long what was handed over lasts, summed over the streams.
    pub(crate) fn signal_seconds(&self) -> f64 {
        self.signal_ns.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// How late the last chunk was.
    pub(crate) fn behind_seconds(&self) -> f64 {
        self.behind_ns.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// How late the latest chunk was.
    pub(crate) fn max_behind_seconds(&self) -> f64 {
        self.max_behind_ns.load(Ordering::Relaxed) as f64 * 1e-9
    }

    /// From the start of the play to its end.
    pub(crate) fn elapsed_seconds(&self) -> f64 {
        self.elapsed_ns.load(Ordering::Relaxed) as f64 * 1e-9
    }
}
