//! CSV files: text with a column for each channel.
//!
//! - The first line names the columns if one of its cells is neither empty, a number nor a time stamp.
//! - The time column is the one that the options name, or else the first whose name is `time` or `timestamp`,
//!   alone or followed by something that is no letter (`time_ms`, `Time [s]`). It holds time stamps
//!   (`2024-02-29 12:30:15.25`, UTC where they name no zone) or numbers in seconds, or in the unit at the end of
//!   the column's name (`s`, `ms`, `us`, `ns`), since the Unix epoch; a clock that starts at 0 starts there.
//! - The sample rate, where the options do not give it, is one over the mean interval between time stamps that
//!   are not further apart than one and a half times the median, and a whole number of hertz where it is one
//!   within 0.01 %.
//! - The type of the samples is the smallest type of counts that holds them all, or `f64` where some are not
//!   whole. For this and the rate a regular file is read twice; a pipe is `f64`, and its rate must be given.
//! - A row with a wrong number of cells, or a cell that is no finite number or does not fit the sample type,
//!   becomes a dead letter with its line, and the next row stands after a gap.
//! - Quotes are taken off; a cell in quotes may hold the delimiter, but no line break.

mod survey;
mod table;

use std::collections::VecDeque;
use std::path::Path;

use self::survey::Survey;
use self::table::Table;
use super::input::is_stdin;
use super::rows::MAX_CHUNK_VALUES;
use super::{FileOptions, Recording, Source, SourceError, check_rate, dead_letter, format_error, io_error};
use crate::signal::{ChannelInfo, Chunk, Position, SampleType, StreamInfo, StreamKey};
use crate::source::SourceEvent;

/// Opens a CSV file.
pub(super) fn open(recording: &Recording<'_>, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    let path = recording.path;
    let survey = match is_regular(path)? {
        true => Some(Survey::of(path, options)?),
        false => None,
    };
    let sample_type = match (options.sample_type, &survey) {
        (Some(sample_type), _) => sample_type,
        (None, Some(survey)) => survey.sample_type,
        (None, None) => SampleType::F64,
    };
    let sample_rate_hz = options
        .sample_rate_hz
        .or(survey.as_ref().and_then(|survey| survey.sample_rate_hz))
        .ok_or_else(|| {
            let reason = match survey {
                Some(_) => "is not known: give it, or name a time column with at least two different times",
                None => "is not known: give it; only a file can be read twice to find it, and the type of its samples",
            };
            format_error(path, "sample_rate_hz", reason)
        })?;
    check_rate(path, "sample_rate_hz", sample_rate_hz)?;
    let table = Table::open(path, options, Some(sample_type))?;
    if options.sample_rate_hz.is_none() {
        tracing::info!(file = %path.display(), sample_rate_hz, "sample rate taken from the time column");
    }
    let info = StreamInfo {
        key: StreamKey::new(recording.name),
        sample_rate_hz,
        sample_type,
        stored_bits: sample_type.bits(),
        channels: table.channel_names().into_iter().map(ChannelInfo::unscaled).collect(),
    };
    Ok(Box::new(CsvSource {
        origin: recording.origin(),
        chunk_rows: options.chunk_samples.min(MAX_CHUNK_VALUES / info.channels.len().max(1)),
        total_rows: survey.map(|survey| survey.rows),
        table,
        info,
        samples: Vec::new(),
        start_ns: None,
        end_byte: 0,
        after_gap: false,
        state: State::Start,
        ready: VecDeque::new(),
    }))
}

/// True for a file that can be read twice.
fn is_regular(path: &Path) -> Result<bool, SourceError> {
    if is_stdin(path) {
        return Ok(false);
    }
    let metadata = std::fs::metadata(path).map_err(|error| io_error(path, error))?;
    if metadata.is_file() && metadata.len() == 0 {
        return Err(format_error(path, "file", "is empty"));
    }
    Ok(metadata.is_file())
}

struct CsvSource {
    table: Table,
    origin: String,
    info: StreamInfo,
    total_rows: Option<u64>,
    chunk_rows: usize,
    /// The chunk so far, its first time and the byte after it.
    samples: Vec<f64>,
    start_ns: Option<i64>,
    end_byte: u64,
    after_gap: bool,
    state: State,
    ready: VecDeque<SourceEvent>,
}

enum State {
    Start,
    Reading,
    Ended,
}

impl CsvSource {
    fn rows(&self) -> usize {
        self.samples.len() / self.info.channels.len()
    }

    fn read_row(&mut self) -> Result<(), SourceError> {
        let Some(row) = self.table.next_row()? else {
            self.flush();
            if let Some(reason) = self.table.damage() {
                self.refuse(self.table.end_byte(), reason, 0);
            }
            self.state = State::Ended;
            return Ok(());
        };
        match row {
            Ok(time_ns) => {
                if self.is_late(time_ns) {
                    self.flush();
                }
                if self.samples.is_empty() {
                    self.start_ns = time_ns;
                }
                self.samples.extend_from_slice(self.table.samples());
                self.end_byte = self.table.end_byte();
                if self.rows() >= self.chunk_rows {
                    self.flush();
                }
            }
            Err(reason) => {
                self.flush();
                self.after_gap = true;
                let reason = format!("line {}: {reason}", self.table.line());
                self.refuse(self.table.start_byte(), reason, self.info.channels.len() as u64);
            }
        }
        Ok(())
    }

    fn refuse(&mut self, byte: u64, reason: String, samples: u64) {
        let letter = dead_letter(&self.origin, byte, reason, samples);
        self.ready.push_back(SourceEvent::DeadLetter { origin: 0, letter });
    }

    /// True if a row does not belong to the chunk because samples are missing before it. A chunk has one time,
    /// so this one must begin with that row for the gap to be seen.
    fn is_late(&self, time_ns: Option<i64>) -> bool {
        let (Some(time_ns), Some(start_ns)) = (time_ns, self.start_ns) else { return false };
        let expected_ns = start_ns.saturating_add(self.info.duration_ns(self.rows() as u64));
        !self.samples.is_empty() && time_ns.saturating_sub(expected_ns) > self.info.duration_ns(1) / 2
    }

    fn flush(&mut self) {
        if self.samples.is_empty() {
            return;
        }
        self.ready.push_back(SourceEvent::Chunk(Chunk {
            origin: 0,
            stream: 0,
            arrival_ns: None,
            position: Position::Byte(self.end_byte),
            time_ns: self.start_ns,
            after_gap: std::mem::take(&mut self.after_gap),
            samples: std::mem::take(&mut self.samples),
        }));
    }
}

impl Source for CsvSource {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.state {
                State::Start => {
                    self.state = State::Reading;
                    return Ok(SourceEvent::Stream { origin: 0, info: self.info.clone() });
                }
                State::Reading => self.read_row()?,
                State::Ended => return Ok(SourceEvent::End),
            }
        }
    }

    fn total_samples(&self) -> Option<u64> {
        self.total_rows.map(|rows| rows.saturating_mul(self.info.channels.len() as u64))
    }
}

#[cfg(test)]
mod tests;
