//! `--from` and `--to`.

use crate::packet::Header;
use crate::packet::rvl::Placed;
use crate::source::time::{NANOS_PER_SECOND, decimal_ns, timestamp_ns};

/// The part of a sample by which times may be off that are rounded to microseconds.
pub(in crate::cli) const ROUNDING: f64 = 1e-3;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Bound {
    /// Nanoseconds since the Unix epoch.
    Time(i64),
    /// Nanoseconds since the stream's start.
    FromStart(i64),
}

/// Reads a point in time: RFC 3339, seconds since the epoch, or hours, minutes and seconds since the stream's start.
pub(in crate::cli) fn parse_bound(text: &str) -> Result<Bound, String> {
    let from_start = || {
        let mut parts = text.rsplit(':');
        let mut ns = decimal_ns(parts.next()?, NANOS_PER_SECOND).filter(|ns| *ns >= 0)?;
        for (count, part) in parts.enumerate() {
            let unit = [60, 3600].get(count)?;
            let part: i64 = part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok())??;
            ns = part.checked_mul(unit * NANOS_PER_SECOND)?.checked_add(ns)?;
        }
        Some(Bound::FromStart(ns))
    };
    let bound = match (text.contains(':'), text.contains(['-', 'T', ' '])) {
        (true, false) => from_start(),
        _ => timestamp_ns(text).or_else(|| decimal_ns(text, NANOS_PER_SECOND)).map(Bound::Time),
    };
    bound.ok_or_else(|| {
        "expected a time such as 2024-02-29T12:00:00Z, seconds since 1970, or HH:MM:SS since the stream's start"
            .to_owned()
    })
}

/// The part of a recording that is wanted: from a point in time until right before another one.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Range {
    pub(in crate::cli) from: Option<Bound>,
    pub(in crate::cli) to: Option<Bound>,
}

impl Range {
    pub(in crate::cli) fn is_all(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// The part of a stream that began at `start_ns`, where it has times.
    ///
    /// # Errors
    /// It has no times, and the bounds are times.
    pub(in crate::cli) fn of_stream(&self, start_ns: Option<i64>) -> Result<Window, String> {
        let place = |bound: Option<Bound>, open: i64| match (bound, start_ns) {
            (None, _) => Ok(open),
            (Some(Bound::Time(ns)), Some(_)) => Ok(ns),
            (Some(Bound::FromStart(ns)), start_ns) => Ok(start_ns.unwrap_or(0).saturating_add(ns)),
            (Some(Bound::Time(_)), None) => {
                Err("has no times: give --from and --to as HH:MM:SS since its start, or leave the stream out"
                    .to_owned())
            }
        };
        let (from_ns, to_ns) = (place(self.from, i64::MIN)?, place(self.to, i64::MAX)?);
        Ok(Window { from_ns, to_ns, timed: start_ns.is_some() })
    }
}

/// The wanted part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Window {
    /// Since the Unix epoch, or since frame 0 of a stream without times.
    pub(in crate::cli) from_ns: i64,
    pub(in crate::cli) to_ns: i64,
    /// True for a stream with times.
    pub(in crate::cli) timed: bool,
}

impl Window {
    /// Everything.
    pub(in crate::cli) const ALL: Self = Self { from_ns: i64::MIN, to_ns: i64::MAX, timed: false };

    /// Nanoseconds at which the packet begins, in the count of this window.
    pub(in crate::cli) fn start_of(&self, header: &Header) -> i64 {
        let since_frame_0 = || {
            let samples = header.first_frame.saturating_mul(u64::from(header.frame_size));
            crate::signal::duration_ns(header.sample_rate_hz, samples)
        };
        match header.time_ns {
            Some(time_ns) if self.timed => time_ns,
            _ if self.timed => self.from_ns,
            _ => since_frame_0(),
        }
    }

    /// The samples per channel of the packet that are wanted.
    pub(in crate::cli) fn samples(&self, header: &Header) -> std::ops::Range<u64> {
        let valid = header.valid_samples();
        if *self == Self::ALL {
            return 0..valid;
        }
        let start_ns = i128::from(self.start_of(header));
        // The first sample that is not before a time; a time is a whole number of nanoseconds, a sample's is not.
        let first = |ns: i64| {
            let samples = (i128::from(ns) - start_ns) as f64 * header.sample_rate_hz / 1e9;
            ((samples - ROUNDING).ceil().max(0.0) as u64).min(valid)
        };
        let from = first(self.from_ns);
        from..first(self.to_ns).max(from)
    }

    /// True if a packet in the index may have wanted samples.
    pub(in crate::cli) fn may_meet(&self, placed: &Placed, sample_rate_hz: f64) -> bool {
        let frames_ns = |frames: u64| {
            let samples = frames.saturating_mul(u64::from(placed.timing.frame_size));
            crate::signal::duration_ns(sample_rate_hz, samples)
        };
        let start_ns = match (placed.timing.time_ms, self.timed) {
            (Some(time_ms), true) => time_ms.saturating_mul(1_000_000),
            (None, true) => return true,
            (_, false) => frames_ns(placed.entry.first_frame),
        };
        let end_ns = start_ns.saturating_add(frames_ns(placed.entry.frames.into())).saturating_add(1_000_000);
        start_ns < self.to_ns && end_ns > self.from_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_times_or_since_the_start() {
        for (text, expected) in [
            ("1970-01-01T00:00:01Z", Bound::Time(1_000_000_000)),
            ("1970-01-01 01:00:00+01:00", Bound::Time(0)),
            ("1700000000.5", Bound::Time(1_700_000_000_500_000_000)),
            ("00:10:00", Bound::FromStart(600_000_000_000)),
            ("1:02:03.5", Bound::FromStart(3_723_500_000_000)),
            ("90:00", Bound::FromStart(5_400_000_000_000)),
        ] {
            assert_eq!(parse_bound(text), Ok(expected), "{text}");
        }
        for text in ["", "x", "1:2:3:4", "-1:00", "a:00", "1:-1", "2024-13-01T00:00:00Z"] {
            assert!(parse_bound(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_window_cuts_packets_to_the_sample_but_for_what_rounding_does() {
        let header = Header {
            model: crate::model::ModelId([0; 8]),
            key_packet: true,
            after_gap: false,
            sample_type: crate::signal::SampleType::I16,
            channels: 1,
            sample_rate_hz: 360.0,
            frame_size: 360,
            first_frame: 10,
            time_ns: Some(1_000_000_000_000),
            frames: 2,
            last_valid: 180,
        };
        let window = |from_ns, to_ns| Window { from_ns, to_ns, timed: true };
        let at = |samples: u64| 1_000_000_000_000 + crate::signal::duration_ns(360.0, samples);
        assert_eq!(window(at(100), at(200)).samples(&header), 100..200);
        assert_eq!(window(at(100) + 10, at(200) + 10).samples(&header), 100..200);
        assert_eq!(window(at(100) + 10_000, at(200) + 10_000).samples(&header), 101..201);
        assert_eq!(window(0, at(0)).samples(&header), 0..0);
        assert_eq!(window(at(540), i64::MAX).samples(&header), 540..540);
        assert_eq!(window(i64::MIN, i64::MAX).samples(&header), 0..540);
        let untimed = Window { from_ns: 10_500_000_000, to_ns: 11_000_000_000, timed: false };
        assert_eq!(untimed.samples(&header), 180..360);
        assert_eq!(Window::ALL.samples(&header), 0..540);
    }
}
