//! Records become chunks: streams, time stamps and gaps.

use std::collections::{HashMap, VecDeque};

use super::backlog::Dropped;
use super::clock::SampleClock;
use super::sequence::{Followed, Sequence};
use crate::signal::{Chunk, Position, StreamIndex, StreamKey, duration_ns};
use crate::source::SourceEvent;
use crate::source::decoding::{MessageDecoder, Record};

/// Samples of all channels in a chunk, about.
const CHUNK_SAMPLES: usize = 4096;
/// Longer keys are taken for garbage: a key is held in memory as long as the source runs.
const MAX_KEY_BYTES: usize = 1024;

/// What a record told beside its samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) records: u64,
    /// Of all channels.
    pub(super) samples: u64,
}

/// Turns records into events.
pub(super) struct Records {
    decoder: MessageDecoder,
    /// The key of records that do not name one.
    key: String,
    max_streams: usize,
    silence_ns: i64,
    sequence: Option<Sequence>,
    last_arrival_ns: Option<i64>,
    /// By the keys that records name.
    streams: HashMap<Option<String>, Stream>,
    /// Grows while records follow on each other.
    chunk: Option<Chunk>,
    /// Reused between records.
    records: Vec<Record>,
}

struct Stream {
    index: StreamIndex,
    clock: SampleClock,
    /// True if samples are missing before the next record.
    gap: bool,
}

impl Records {
    /// `silence_ns` without a record is a gap.
    pub(super) fn new(decoder: MessageDecoder, key: String, max_streams: usize, silence_ns: i64) -> Self {
        let sequence = decoder.sequence_bits().map(Sequence::new);
        let (streams, records) = (HashMap::new(), Vec::new());
        Self {
            decoder,
            key,
            max_streams,
            silence_ns,
            sequence,
            last_arrival_ns: None,
            streams,
            chunk: None,
            records,
        }
    }

    pub(super) fn decoder(&self) -> &MessageDecoder {
        &self.decoder
    }

    fn channels(&self) -> usize {
        self.decoder.options().channels.len().max(1)
    }

    /// The wire was opened anew.
    pub(super) fn opened(&mut self) {
        if let Some(sequence) = &mut self.sequence {
            sequence.restart();
        }
        self.break_all();
    }

    /// Bytes came that are no record. Where records are numbered, the next one tells whether any is missing.
    pub(super) fn damaged(&mut self) {
        if self.sequence.is_none() {
            self.break_all();
        }
    }

    /// Records were read and did not fit.
    pub(super) fn dropped(&mut self, dropped: Dropped) {
        if dropped.damaged {
            self.damaged();
        }
        if dropped.records == 0 {
            return;
        }
        if let Some(sequence) = &mut self.sequence {
            sequence.skip(dropped.records);
        }
        let rows = dropped.samples / self.channels() as u64;
        match self.streams.len() {
            0..=1 => self.streams.values_mut().for_each(|stream| stream.miss(rows)),
            // There is no telling whose they were.
            _ => self.break_all(),
        }
    }

    /// Samples are missing in every stream, nobody knows how many.
    fn break_all(&mut self) {
        for stream in self.streams.values_mut() {
            stream.gap = true;
            stream.clock.restart();
        }
    }

    /// Samples of all channels in a record, 0 where it cannot be used.
    pub(super) fn samples_of(&mut self, record: &[u8]) -> u64 {
        self.records.clear();
        let decoded = self.decoder.decode(record, &mut self.records);
        decoded.map_or(0, |()| self.records.iter().map(|record| record.samples.len() as u64).sum())
    }

    /// Takes a record that arrived at a time, in nanoseconds since the Unix epoch.
    pub(super) fn take(
        &mut self,
        record: &[u8],
        arrival_ns: i64,
        events: &mut VecDeque<SourceEvent>,
    ) -> (Lost, Result<(), String>) {
        let number = self.decoder.sequence(record);
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        let decoded = self.decoder.decode(record, &mut records).map_err(|error| error.to_string());
        let samples: usize = records.iter().map(|record| record.samples.len()).sum();
        let lost = self.follow(number, samples as u64, arrival_ns);
        let taken = match decoded {
            // One that cannot be taken leaves the others be.
            Ok(()) => {
                let mut taken = Ok(());
                for record in records.drain(..) {
                    let pushed = self.push(record, arrival_ns, events);
                    taken = taken.and(pushed);
                }
                taken
            }
            Err(reason) => {
                // A number that was read will not tell of this record again.
                if number.is_some() || self.sequence.is_none() {
                    self.break_all();
                }
                Err(reason)
            }
        };
        self.records = records;
        (lost, taken)
    }

    /// Takes note of a record's number; `samples` are in it.
    fn follow(&mut self, number: Option<u64>, samples: u64, arrival_ns: i64) -> Lost {
        let followed = match (&mut self.sequence, number) {
            (Some(sequence), Some(number)) => sequence.follow(number),
            _ => Followed::InOrder,
        };
        let before_ns = self.last_arrival_ns.replace(arrival_ns).unwrap_or(arrival_ns);
        let followed = match followed {
            // More than the device can have sent since: it has started again, or the number is damaged.
            Followed::After(records) => {
                let rows = records.saturating_mul(samples / self.channels() as u64);
                let missing_ns = duration_ns(self.decoder.options().sample_rate_hz, rows);
                let waited_ns = arrival_ns.saturating_sub(before_ns).saturating_add(self.silence_ns);
                if missing_ns > waited_ns { Followed::Restarted } else { followed }
            }
            followed => followed,
        };
        match followed {
            Followed::InOrder => Lost::default(),
            Followed::Restarted => {
                self.break_all();
                Lost::default()
            }
            Followed::After(records) => {
                let lost = Lost { records, samples: records.saturating_mul(samples) };
                let rows = lost.samples / self.channels() as u64;
                match self.streams.len() {
                    0..=1 => self.streams.values_mut().for_each(|stream| stream.miss(rows)),
                    _ => self.break_all(),
                }
                lost
            }
        }
    }

    fn push(
        &mut self,
        record: Record,
        arrival_ns: i64,
        events: &mut VecDeque<SourceEvent>,
    ) -> Result<(), String> {
        let channels = self.channels();
        if !self.streams.contains_key(&record.key) {
            self.add_stream(record.key.clone(), events)?;
        }
        let Some(stream) = self.streams.get_mut(&record.key) else { return Ok(()) };
        let stamp = stream.clock.record((record.samples.len() / channels) as u64, arrival_ns);
        // A record's own time says itself whether something is missing before it.
        let silent = stamp.after_silence && record.time_ns.is_none();
        let after_gap = std::mem::take(&mut stream.gap) || silent;
        let rate_hz = self.decoder.options().sample_rate_hz;
        if let Some(chunk) = &mut self.chunk
            && !after_gap
            && chunk.stream == stream.index
            && chunk.samples.len() < CHUNK_SAMPLES
            && record.time_ns.is_none_or(|time_ns| continues(chunk, time_ns, channels, rate_hz))
        {
            chunk.samples.extend_from_slice(&record.samples);
            chunk.arrival_ns = Some(arrival_ns);
            return Ok(());
        }
        let chunk = Chunk {
            origin: 0,
            stream: stream.index,
            position: Position::None,
            arrival_ns: Some(arrival_ns),
            time_ns: Some(record.time_ns.unwrap_or(stamp.first_ns)),
            after_gap,
            samples: record.samples,
        };
        self.flush(events);
        self.chunk = Some(chunk);
        Ok(())
    }

    fn add_stream(&mut self, key: Option<String>, events: &mut VecDeque<SourceEvent>) -> Result<(), String> {
        if self.streams.len() >= self.max_streams || key.as_ref().is_some_and(|key| key.len() > MAX_KEY_BYTES)
        {
            return Err(format!(
                "its stream does not fit: there are {} streams already (window.max_streams is {}), or its key has more \
                 than {MAX_KEY_BYTES} bytes",
                self.streams.len(),
                self.max_streams
            ));
        }
        let index = self.streams.len();
        let options = self.decoder.options();
        let text = key.clone().unwrap_or_else(|| self.key.clone());
        let info = options.stream_info(StreamKey::new(text));
        let clock = SampleClock::new(options.sample_rate_hz, self.silence_ns);
        self.flush(events);
        events.push_back(SourceEvent::Stream { origin: 0, info });
        self.streams.insert(key, Stream { index, clock, gap: false });
        Ok(())
    }

    /// Gives out the chunk that grows.
    pub(super) fn flush(&mut self, events: &mut VecDeque<SourceEvent>) {
        events.extend(self.chunk.take().map(SourceEvent::Chunk));
    }

    /// How much faster than declared the device's clock runs, in parts per million, and for how many nanoseconds that
    /// was measured; of the first stream.
    pub(super) fn drift(&self) -> Option<(f64, i64)> {
        let stream = self.streams.values().find(|stream| stream.index == 0)?;
        Some((stream.clock.drift_ppm()?, stream.clock.measured_ns()))
    }
}

impl Stream {
    /// So many samples of a channel are missing before the next record.
    fn miss(&mut self, rows: u64) {
        self.gap = true;
        self.clock.skip(rows);
    }
}

/// True if a row at `time_ns` follows on the chunk, within half a sample.
fn continues(chunk: &Chunk, time_ns: i64, channels: usize, rate_hz: f64) -> bool {
    let rows = (chunk.samples.len() / channels) as u64;
    let expected_ns = chunk.time_ns.map(|start_ns| start_ns.saturating_add(duration_ns(rate_hz, rows)));
    let off_ns = expected_ns.map(|expected_ns| time_ns.saturating_sub(expected_ns).saturating_abs());
    off_ns.is_some_and(|off_ns| off_ns <= duration_ns(rate_hz, 1) / 2)
}

#[cfg(test)]
mod tests;
