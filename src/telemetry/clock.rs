//! The time of day, for latencies that cross processes.

use std::time::SystemTime;

/// Now, in nanoseconds since the Unix epoch.
pub(crate) fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Seconds from one time to a later one; none where it is earlier.
pub(crate) fn seconds_since(from_ns: i64, to_ns: i64) -> f64 {
    to_ns.saturating_sub(from_ns).max(0) as f64 * 1e-9
}
