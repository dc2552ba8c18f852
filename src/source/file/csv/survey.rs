//! What a first reading of a CSV file finds out.

use std::path::Path;

use super::table::Table;
use crate::signal::SampleType;
use crate::source::SourceError;
use crate::source::file::{FileOptions, format_error};

/// What is known of a file before its samples are given.
pub(super) struct Survey {
    /// Rows that can be read.
    pub(super) rows: u64,
    /// The smallest type of counts that holds all samples, or `f64`.
    pub(super) sample_type: SampleType,
    /// The rate that the time column shows, where there is one and it advances.
    pub(super) sample_rate_hz: Option<f64>,
}

impl Survey {
    pub(super) fn of(path: &Path, options: &FileOptions) -> Result<Self, SourceError> {
        let mut table = Table::open(path, options, options.sample_type)?;
        let mut rows = 0;
        let mut intervals = Intervals::default();
        let mut first_refusal = None;
        let mut whole = true;
        let (mut min, mut max) = (0.0_f64, 0.0_f64);
        while let Some(row) = table.next_row()? {
            match row {
                Ok(time_ns) => {
                    rows += 1;
                    intervals.add(time_ns);
                    for sample in table.samples() {
                        whole &= sample.fract() == 0.0;
                        min = min.min(*sample);
                        max = max.max(*sample);
                    }
                }
                Err(reason) if first_refusal.is_none() => first_refusal = Some((table.line(), reason)),
                Err(_) => {}
            }
        }
        if rows == 0 {
            return Err(match first_refusal {
                Some((line, reason)) => {
                    let reason = format!("{reason}; nor can any other row be read");
                    format_error(path, format_args!("line {line}"), reason)
                }
                None => format_error(path, "file", "has no row of samples"),
            });
        }
        let counts = [SampleType::I16, SampleType::I24, SampleType::I32];
        let sample_type = counts
            .into_iter()
            .find(|counts| whole && counts.holds(min) && counts.holds(max))
            .unwrap_or(SampleType::F64);
        Ok(Self { rows, sample_type, sample_rate_hz: intervals.rate_hz() })
    }
}

/// Intervals between time stamps.
#[derive(Default)]
struct Intervals {
    last_ns: Option<i64>,
    /// The first intervals, until there are enough for a median.
    first: Vec<i64>,
    /// The longest interval that misses no sample.
    longest_ns: Option<i64>,
    sum_ns: i128,
    count: u64,
}

impl Intervals {
    const FOR_MEDIAN: usize = 1024;

    fn add(&mut self, time_ns: Option<i64>) {
        let Some(time_ns) = time_ns else { return };
        let interval = self.last_ns.replace(time_ns).map(|last| time_ns.saturating_sub(last));
        let Some(interval) = interval.filter(|interval| *interval >= 0) else { return };
        match self.longest_ns {
            Some(longest) => self.count(interval, longest),
            None => {
                self.first.push(interval);
                if self.first.len() >= Self::FOR_MEDIAN {
                    self.settle();
                }
            }
        }
    }

    fn count(&mut self, interval_ns: i64, longest_ns: i64) {
        if interval_ns <= longest_ns {
            self.sum_ns += i128::from(interval_ns);
            self.count += 1;
        }
    }

    fn settle(&mut self) {
        let mut first = std::mem::take(&mut self.first);
        first.sort_unstable();
        // Where most stamps repeat the one before, they are too coarse to show a gap.
        let longest = match first.get(first.len() / 2) {
            Some(median) if *median > 0 => median.saturating_add(median / 2),
            _ => i64::MAX,
        };
        self.longest_ns = Some(longest);
        first.into_iter().for_each(|interval| self.count(interval, longest));
    }

    fn rate_hz(mut self) -> Option<f64> {
        if self.longest_ns.is_none() {
            self.settle();
        }
        if self.sum_ns == 0 {
            return None;
        }
        let rate = self.count as f64 * 1e9 / self.sum_ns as f64;
        let whole = rate.round();
        Some(if (rate - whole).abs() <= whole * 1e-4 { whole } else { rate })
    }
}
