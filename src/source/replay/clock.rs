//! The clock that a play goes by.

use std::time::{Duration, Instant};

use crate::telemetry::unix_ns;

/// Tells the time since a start, and waits.
pub(crate) trait Clock: Send {
    /// Now is the start.
    fn start(&mut self);

    /// Nanoseconds since the start, which never go back.
    fn now_ns(&self) -> i64;

    /// The start, in nanoseconds since the Unix epoch.
    fn start_unix_ns(&self) -> i64;

    /// Waits about so long.
    fn sleep(&mut self, wait: Duration);
}

/// The machine's clock.
pub(crate) struct WallClock {
    started: Instant,
    start_unix_ns: i64,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), start_unix_ns: unix_ns() }
    }
}

impl Clock for WallClock {
    fn start(&mut self) {
        *self = Self::new();
    }

    fn now_ns(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    fn start_unix_ns(&self) -> i64 {
        self.start_unix_ns
    }

    fn sleep(&mut self, wait: Duration) {
        std::thread::sleep(wait);
    }
}
