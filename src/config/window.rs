//! `[window]`: how streams are cut into frames.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::section::{Refused, Report, Section};
use super::value::Value;

const MAX_FRAME_SIZE: usize = 1 << 20;
const MAX_STREAMS: usize = 1 << 20;
const DAY_MS: usize = 24 * 60 * 60 * 1000;
const MONTH_SECS: usize = 31 * 24 * 60 * 60;

/// Enough for any recording and a large fleet, small enough to bound memory.
const DEFAULT_MAX_STREAMS: usize = 10_000;

pub(super) const KEYS: &[&str] = &["frame_size", "max_gap_ms", "max_streams", "idle_timeout_secs"];

/// How streams are cut into frames.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowConfig {
    /// Samples per channel in a frame; none: what the model takes.
    pub frame_size: Option<NonZeroUsize>,
    /// How far time stamps may run ahead of the sample count before a frame is closed; none: however far.
    pub max_gap: Option<Duration>,
    /// Streams that may have an open frame at a time.
    pub max_streams: NonZeroUsize,
    /// A stream without samples for this long has its open frame closed, padded; none: never.
    pub idle_timeout: Option<Duration>,
}

pub(super) fn read(value: Option<Value>, report: &Report<'_>) -> Result<WindowConfig, Refused> {
    let value = value.unwrap_or_else(|| Value::Table(Default::default()));
    let mut section = Section::open("window", value, KEYS, report)?;
    let frame_size = section.count("frame_size", 1..=MAX_FRAME_SIZE);
    let max_gap_ms = section.count("max_gap_ms", 1..=DAY_MS);
    let max_streams = section.count_or("max_streams", 1..=MAX_STREAMS, DEFAULT_MAX_STREAMS);
    let idle_timeout_secs = section.count("idle_timeout_secs", 1..=MONTH_SECS);
    Ok(WindowConfig {
        frame_size: frame_size?,
        max_gap: max_gap_ms?.map(|ms| Duration::from_millis(ms.get() as u64)),
        max_streams: max_streams?,
        idle_timeout: idle_timeout_secs?.map(|secs| Duration::from_secs(secs.get() as u64)),
    })
}
