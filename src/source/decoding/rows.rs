//! Rows of a message become records.

use super::{DecodeError, Place, Record};
use crate::signal::duration_ns;

/// The records of one message, made row by row.
pub(super) struct Rows<'a> {
    records: &'a mut Vec<Record>,
    /// The index of the message's first record.
    first: usize,
    channels: usize,
    sample_rate_hz: f64,
    last_time_ns: Option<i64>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(records: &'a mut Vec<Record>, channels: usize, sample_rate_hz: f64) -> Self {
        let first = records.len();
        Self { records, first, channels, sample_rate_hz, last_time_ns: None }
    }

    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// Adds rows of one key, the first of them at `time_ns`, to the record before where they continue it.
    pub(super) fn push(
        &mut self,
        key: Option<&str>,
        time_ns: Option<i64>,
        samples: &[f64],
    ) -> Result<(), DecodeError> {
        let channels = self.channels;
        if samples.is_empty() || !samples.len().is_multiple_of(channels) {
            let reason = format!("{} samples are not whole rows of {channels} channels", samples.len());
            return Err(DecodeError::new(Place::Message, reason));
        }
        let went_back = matches!((self.last_time_ns, time_ns), (Some(last), Some(time)) if time < last);
        self.last_time_ns = time_ns.or(self.last_time_ns);
        let rate_hz = self.sample_rate_hz;
        let record = self.records.get_mut(self.first..).and_then(<[_]>::last_mut);
        match record.filter(|record| {
            record.key.as_deref() == key && !went_back && !is_late(record, time_ns, channels, rate_hz)
        }) {
            Some(record) => record.samples.extend_from_slice(samples),
            None => {
                self.records.push(Record { key: key.map(str::to_owned), time_ns, samples: samples.to_vec() })
            }
        }
        Ok(())
    }
}

/// True if rows at `time_ns` do not follow on `record` because samples are missing between them. A record has
/// one time, so they must begin another for the gap to be seen.
fn is_late(record: &Record, time_ns: Option<i64>, channels: usize, rate_hz: f64) -> bool {
    match (record.time_ns, time_ns) {
        (Some(start_ns), Some(time_ns)) => {
            let rows = (record.samples.len() / channels) as u64;
            let expected_ns = start_ns.saturating_add(duration_ns(rate_hz, rows));
            time_ns.saturating_sub(expected_ns) > duration_ns(rate_hz, 1) / 2
        }
        (None, Some(_)) => true,
        (_, None) => false,
    }
}
