//! How times are written in messages.

use crate::source::time::{decimal_ns, timestamp_ns};

/// How a time is written; those without time zone are UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since the Unix epoch.
    Seconds,
    /// Milliseconds since the Unix epoch.
    Milliseconds,
    /// Microseconds since the Unix epoch.
    Microseconds,
    /// Nanoseconds since the Unix epoch.
    Nanoseconds,
    /// A date and a time of day (`2024-02-29T12:30:15.25Z`).
    Rfc3339,
}

/// Where a message has its time, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeField<P> {
    /// The place.
    pub at: P,
    /// How it is written.
    pub unit: TimeUnit,
}

impl TimeUnit {
    /// Nanoseconds since the Unix epoch of a text, or what it should be.
    pub(super) fn ns_of(self, text: &str) -> Result<i64, &'static str> {
        let number = |unit_ns, expected| decimal_ns(text, unit_ns).ok_or(expected);
        match self {
            Self::Seconds => number(1_000_000_000, "a number of seconds between the years 1678 and 2262"),
            Self::Milliseconds => {
                number(1_000_000, "a number of milliseconds between the years 1678 and 2262")
            }
            Self::Microseconds => number(1_000, "a number of microseconds between the years 1678 and 2262"),
            Self::Nanoseconds => number(1, "a number of nanoseconds between the years 1678 and 2262"),
            Self::Rfc3339 => timestamp_ns(text).ok_or("a time such as 2024-02-29T12:30:15.25Z"),
        }
    }
}
