//! What recordings of interleaved samples share: rows become chunks, holes become dead letters.

use std::collections::VecDeque;

use super::{Source, SourceError, dead_letter};
use crate::signal::{Chunk, DeadLetter, Position, StreamInfo};
use crate::source::SourceEvent;

/// The most values that are read at once.
pub(super) const MAX_CHUNK_VALUES: usize = 1 << 20;

/// Reads rows: one sample of every channel, taken at the same instant.
pub(super) trait RowReader: Send {
    /// Appends up to `rows` rows to `samples`, with NaN or infinity for a sample that is missing, and
    /// returns how many; none at the end of the file.
    fn read(&mut self, rows: usize, samples: &mut Vec<f64>) -> Result<usize, SourceError>;

    /// The byte at which row number `row` starts.
    fn byte_of(&self, row: u64) -> u64;

    /// Why a sample can be missing.
    fn missing(&self) -> &'static str;

    /// What is wrong with the file as a whole, once it has been read to its end.
    fn flaw(&mut self) -> Option<Flaw>;
}

/// What is wrong with a file and how many samples it costs.
pub(super) struct Flaw {
    pub(super) reason: String,
    pub(super) samples: u64,
}

/// A source over a [`RowReader`].
pub(super) struct RowSource<R> {
    reader: R,
    origin: String,
    info: StreamInfo,
    start_ns: Option<i64>,
    total_rows: Option<u64>,
    chunk_rows: usize,
    row: u64,
    hole: Option<Hole>,
    after_gap: bool,
    state: State,
    ready: VecDeque<SourceEvent>,
}

/// Consecutive rows with a missing sample.
struct Hole {
    first_row: u64,
    rows: u64,
}

enum State {
    Start,
    Reading,
    Ended,
}

impl<R: RowReader> RowSource<R> {
    /// `total_rows` are those that the reader will give, `start_ns` is the time of the first.
    pub(super) fn new(
        reader: R,
        origin: String,
        info: StreamInfo,
        start_ns: Option<i64>,
        total_rows: Option<u64>,
        chunk_samples: usize,
    ) -> Self {
        let chunk_rows = chunk_samples.clamp(1, (MAX_CHUNK_VALUES / info.channels.len().max(1)).max(1));
        Self {
            reader,
            origin,
            info,
            start_ns,
            total_rows,
            chunk_rows,
            row: 0,
            hole: None,
            after_gap: false,
            state: State::Start,
            ready: VecDeque::new(),
        }
    }

    fn read_block(&mut self) -> Result<(), SourceError> {
        let channels = self.info.channels.len();
        let mut samples = Vec::new();
        let rows = self.reader.read(self.chunk_rows, &mut samples)?;
        if rows == 0 {
            self.close_hole();
            let flaw = self.reader.flaw().map(|flaw| self.dead_letter(self.row, flaw.reason, flaw.samples));
            self.ready.extend(flaw.map(|letter| SourceEvent::DeadLetter { origin: 0, letter }));
            self.state = State::Ended;
            return Ok(());
        }
        if self.hole.is_none() && samples.iter().all(|sample| sample.is_finite()) {
            self.row += rows as u64;
            self.emit(self.row - rows as u64, samples);
        } else {
            self.split(&samples, channels);
        }
        Ok(())
    }

    /// Emits the runs of whole rows in a block that has others too.
    fn split(&mut self, samples: &[f64], channels: usize) {
        let mut run = Vec::new();
        for row in samples.chunks_exact(channels) {
            if row.iter().all(|sample| sample.is_finite()) {
                self.close_hole();
                run.extend_from_slice(row);
            } else {
                self.emit(self.row - (run.len() / channels) as u64, std::mem::take(&mut run));
                self.hole.get_or_insert(Hole { first_row: self.row, rows: 0 }).rows += 1;
            }
            self.row += 1;
        }
        self.emit(self.row - (run.len() / channels) as u64, run);
    }

    fn close_hole(&mut self) {
        if let Some(hole) = self.hole.take() {
            let samples = hole.rows * self.info.channels.len() as u64;
            let reason = format!("sample {}: {}", hole.first_row, self.reader.missing());
            let letter = self.dead_letter(hole.first_row, reason, samples);
            self.ready.push_back(SourceEvent::DeadLetter { origin: 0, letter });
            self.after_gap = true;
        }
    }

    /// Emits the rows before `self.row`, of which `first_row` is the first.
    fn emit(&mut self, first_row: u64, samples: Vec<f64>) {
        if samples.is_empty() {
            return;
        }
        let end_row = first_row + (samples.len() / self.info.channels.len()) as u64;
        self.ready.push_back(SourceEvent::Chunk(Chunk {
            origin: 0,
            stream: 0,
            arrival_ns: None,
            position: Position::Byte(self.reader.byte_of(end_row)),
            time_ns: self.start_ns.map(|start| start.saturating_add(self.info.duration_ns(first_row))),
            after_gap: std::mem::take(&mut self.after_gap),
            samples,
        }));
    }

    fn dead_letter(&self, row: u64, reason: String, samples: u64) -> DeadLetter {
        dead_letter(&self.origin, self.reader.byte_of(row), reason, samples)
    }
}

impl<R: RowReader> Source for RowSource<R> {
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
                State::Reading => self.read_block()?,
                State::Ended => return Ok(SourceEvent::End),
            }
        }
    }

    fn total_samples(&self) -> Option<u64> {
        self.total_rows.map(|rows| rows.saturating_mul(self.info.channels.len() as u64))
    }
}
