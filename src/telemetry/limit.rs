//! Log lines that may repeat without end.

use std::time::{Duration, Instant};

/// Decides which of many like events get a log line: the first few do, then at most one in an interval, which
/// tells how many were left out.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use rivulet::telemetry::Repeats;
/// let mut repeats = Repeats::new(5, Duration::from_secs(60));
/// if let Some(left_out) = repeats.event(Instant::now()) {
///     tracing::warn!(left_out, "the message cannot be decoded");
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Repeats {
    first_left: u64,
    interval: Duration,
    last_line: Option<Instant>,
    left_out: u64,
}

impl Repeats {
    /// Lets `first` events through, then one in each `interval`.
    pub fn new(first: u64, interval: Duration) -> Self {
        Self { first_left: first, interval, last_line: None, left_out: 0 }
    }

    /// Counts an event. Some if it gets a line, with the number of those since the last line that got none.
    pub fn event(&mut self, now: Instant) -> Option<u64> {
        let waited = |line: Instant| now.saturating_duration_since(line) >= self.interval;
        if self.first_left > 0 {
            self.first_left -= 1;
        } else if !self.last_line.is_none_or(waited) {
            self.left_out += 1;
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }

    /// How many have been left out since the last line; for the last line of all.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_get_a_line_each_and_then_one_an_interval() {
        let start = Instant::now();
        let mut repeats = Repeats::new(2, Duration::from_secs(10));
        let lines: Vec<_> =
            (0..26).map(|second| repeats.event(start + Duration::from_secs(second))).collect();
        let of = |second: usize| lines[second];
        assert_eq!((of(0), of(1), of(2), of(10)), (Some(0), Some(0), None, None));
        assert_eq!((of(11), of(21)), (Some(9), Some(9)));
        assert_eq!(lines.iter().flatten().count(), 4);
        assert_eq!(repeats.left_out(), 4);
    }

    proptest! {
        #[test]
        fn no_event_is_lost_and_lines_keep_their_distance(
            first in 0_u64..5, interval_ms in 1_u64..50, steps_ms in prop::collection::vec(0_u64..20, 1..200),
        ) {
            let interval = Duration::from_millis(interval_ms);
            let mut repeats = Repeats::new(first, interval);
            let mut now = Instant::now();
            let (mut told, mut lines) = (0, Vec::new());
            for step in &steps_ms {
                now += Duration::from_millis(*step);
                if let Some(left_out) = repeats.event(now) {
                    told += 1 + left_out;
                    lines.push(now);
                }
            }
            prop_assert_eq!(told + repeats.left_out(), steps_ms.len() as u64);
            let limited = lines.get((first.max(1) as usize - 1)..).unwrap_or_default();
            prop_assert!(limited.windows(2).all(|pair| pair[1] - pair[0] >= interval));
        }
    }
}
