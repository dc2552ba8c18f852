//! European Data Format: EDF and EDF+ with 16 bits, BDF and BDF+ with 24.
//!
//! - Signals of one rate are one stream. Where a file has several rates, each is a stream of its own, whose key
//!   says the rate: `night/256Hz`, `night/1Hz`.
//! - Counts stay what they are, and the physical range gives gain and baseline.
//! - Annotations are left out, but for the times of records in them.
//! - Records of EDF+D and BDF+D that lie apart in time leave a gap; those of other files follow each other.
//! - A file shorter than its header says ends in a dead letter with the number of samples that are missing, a
//!   longer one in a dead letter with those that were not read.

mod header;
mod onset;
mod range;
mod writer;

use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;

use self::header::{FIXED_BYTES, Header};
use self::onset::onset_ns;
pub(crate) use self::writer::EdfWriter;
use super::input::Input;
use super::{
    Endian, FileOptions, Recording, Source, SourceError, channel_names, check_option, check_rate,
    dead_letter, io_error,
};
use crate::signal::{ChannelInfo, Chunk, Position, StreamInfo, StreamKey};
use crate::source::{SourceEvent, sample_bytes};

/// Opens an EDF or BDF file.
pub(super) fn open(recording: &Recording<'_>, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    let path = recording.path;
    let mut input = Input::open(path)?;
    let mut bytes = Vec::new();
    let mut read_header = |bytes: &mut Vec<u8>, to: usize| {
        let missing = (to - bytes.len()) as u64;
        (&mut input).take(missing).read_to_end(bytes).map_err(|error| io_error(path, error))?;
        if bytes.len() == to {
            return Ok(());
        }
        let reason = match bytes.len() {
            0 => "is empty".to_owned(),
            found => format!("ends after {found} bytes, within its header of at least {to}"),
        };
        Err(recording.error("file", reason))
    };
    read_header(&mut bytes, FIXED_BYTES)?;
    let signals = match bytes.first_chunk() {
        Some(fixed) => header::signal_count(path, fixed)?,
        None => 0,
    };
    read_header(&mut bytes, Header::bytes(signals))?;
    let header = header::parse(path, &bytes)?;
    check_option(path, "sample_type", options.sample_type, header.sample_type)?;
    let channels = header.signals.iter().filter(|signal| !signal.annotations).count();
    if channels == 0 {
        return Err(recording.error("signals", "there are only annotations: no samples"));
    }
    check_option(path, "channels", options.channels, channels)?;
    let groups = groups(recording, &header, options)?;
    Ok(Box::new(EdfSource {
        origin: recording.origin(),
        path: path.to_owned(),
        chunk_samples: options.chunk_samples,
        input,
        start_ns: header.start_ns,
        header,
        groups,
        record: Vec::new(),
        counts: Vec::new(),
        records_read: 0,
        run_record: 0,
        run_onset_ns: 0,
        state: State::Announcing(0),
        ready: VecDeque::new(),
    }))
}

/// The streams of a file, in the order of their first signals.
fn groups(
    recording: &Recording<'_>,
    header: &Header,
    options: &FileOptions,
) -> Result<Vec<Group>, SourceError> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, signal) in header.signals.iter().enumerate().filter(|(_, signal)| !signal.annotations) {
        let rows = signal.samples_per_record;
        match groups.iter_mut().find(|group| group.rows_per_record == rows) {
            Some(group) => group.signals.push(number),
            None => groups.push(Group::new(recording, header, number)?),
        }
    }
    if let (Some(rate), [group]) = (options.sample_rate_hz, groups.as_mut_slice()) {
        group.info.sample_rate_hz = rate;
    } else if options.sample_rate_hz.is_some() {
        let rates: Vec<_> = groups.iter().map(|group| group.info.sample_rate_hz.to_string()).collect();
        let reason = format!("one is given, but the file has signals at {} Hz", rates.join(", "));
        return Err(recording.error("sample_rate_hz", reason));
    }
    let several = groups.len() > 1;
    for group in &mut groups {
        let signals = || group.signals.iter().filter_map(|number| header.signals.get(*number));
        let labels: Vec<String> = signals().map(|signal| signal.label.clone()).collect();
        let channels = channel_names(&labels).into_iter().zip(signals()).map(|(name, signal)| ChannelInfo {
            name,
            unit: signal.unit.clone(),
            gain: signal.gain,
            baseline: signal.baseline,
        });
        group.info.channels = channels.collect();
        if several {
            let key = format!("{}/{}Hz", recording.name, group.info.sample_rate_hz);
            group.info.key = StreamKey::new(key);
        }
    }
    Ok(groups)
}

/// Signals of one rate.
struct Group {
    info: StreamInfo,
    rows_per_record: usize,
    /// Numbers of its signals.
    signals: Vec<usize>,
    /// The chunk so far and its time.
    samples: Vec<f64>,
    time_ns: Option<i64>,
    after_gap: bool,
}

impl Group {
    fn new(recording: &Recording<'_>, header: &Header, first: usize) -> Result<Self, SourceError> {
        let rows_per_record = header.signals.get(first).map_or(0, |signal| signal.samples_per_record);
        let sample_rate_hz = header.record_seconds.rate_hz(rows_per_record);
        check_rate(recording.path, "samples per record", sample_rate_hz)?;
        let info = StreamInfo {
            key: StreamKey::new(recording.name),
            sample_rate_hz,
            sample_type: header.sample_type,
            stored_bits: header.sample_type.bits(),
            channels: Vec::new(),
        };
        let signals = vec![first];
        Ok(Self { info, rows_per_record, signals, samples: Vec::new(), time_ns: None, after_gap: false })
    }

    fn rows(&self) -> usize {
        self.samples.len() / self.signals.len().max(1)
    }
}

struct EdfSource {
    path: PathBuf,
    origin: String,
    input: Input,
    header: Header,
    groups: Vec<Group>,
    chunk_samples: usize,
    /// The record that is read, and the counts of one signal in it.
    record: Vec<u8>,
    counts: Vec<f64>,
    records_read: u64,
    start_ns: Option<i64>,
    /// The first record of those that follow each other without a gap, and when it began, counted from the header's
    /// time.
    run_record: u64,
    run_onset_ns: i64,
    state: State,
    ready: VecDeque<SourceEvent>,
}

enum State {
    /// The next of the groups.
    Announcing(usize),
    Reading,
    Ended,
}

impl EdfSource {
    fn read_record(&mut self) -> Result<(), SourceError> {
        let bytes = self.header.record_bytes();
        self.record.clear();
        if self.header.records.is_none_or(|records| self.records_read < records) {
            // Grows with what is there, whatever the header says.
            (&mut self.input)
                .take(bytes as u64)
                .read_to_end(&mut self.record)
                .map_err(|error| io_error(&self.path, error))?;
        }
        if self.record.len() < bytes {
            return self.end();
        }
        self.place_in_time();
        let record = std::mem::take(&mut self.record);
        let mut rest = record.as_slice();
        for number in 0..self.header.signals.len() {
            let Some(signal) = self.header.signals.get(number) else { continue };
            let (own, after) =
                rest.split_at((signal.samples_per_record * self.header.sample_bytes()).min(rest.len()));
            rest = after;
            let place = self.groups.iter_mut().find_map(|group| {
                let channel = group.signals.iter().position(|signal| *signal == number)?;
                Some((group, channel))
            });
            let Some((group, channel)) = place else { continue };
            self.counts.clear();
            sample_bytes::decode(own, self.header.sample_type, Endian::Little, &mut self.counts);
            let channels = group.signals.len();
            if channel == 0 {
                group.samples.resize(group.samples.len() + group.rows_per_record * channels, 0.0);
            }
            let first = group.samples.len() - group.rows_per_record * channels + channel;
            let places = group.samples.iter_mut().skip(first).step_by(channels);
            places.zip(&self.counts).for_each(|(place, count)| *place = *count);
        }
        self.record = record;
        self.records_read += 1;
        for number in 0..self.groups.len() {
            if self.groups.get(number).is_some_and(|group| group.rows() >= self.chunk_samples) {
                self.flush(number);
            }
        }
        Ok(())
    }

    /// Finds the time of a record that was read, and closes chunks where it does not follow on the one before.
    fn place_in_time(&mut self) {
        let onset = self.record_onset_ns();
        if self.records_read == 0 {
            // The fraction of a second at which the recording began.
            self.run_onset_ns = onset.unwrap_or(0);
        }
        let duration = self.header.record_seconds;
        let expected = self.run_onset_ns.saturating_add(duration.ns(self.records_read - self.run_record));
        let begins = onset.filter(|_| self.header.discontinuous).unwrap_or(expected);
        if begins.abs_diff(expected) > self.tolerance_ns() {
            for number in 0..self.groups.len() {
                self.flush(number);
                if let Some(group) = self.groups.get_mut(number) {
                    group.after_gap = true;
                }
            }
            self.run_record = self.records_read;
            self.run_onset_ns = begins;
        }
        let time_ns = self.start_ns.map(|start| start.saturating_add(begins));
        for group in &mut self.groups {
            if group.samples.is_empty() {
                group.time_ns = time_ns;
            }
        }
    }

    /// What the annotations say of when the record begins.
    fn record_onset_ns(&self) -> Option<i64> {
        let number = self.header.signals.iter().position(|signal| signal.annotations)?;
        let samples = |signals: &[header::Signal]| -> usize {
            signals.iter().map(|signal| signal.samples_per_record).sum()
        };
        let bytes = self.header.sample_bytes();
        let from = samples(self.header.signals.get(..number)?) * bytes;
        let to = samples(self.header.signals.get(..=number)?) * bytes;
        onset_ns(self.record.get(from..to)?)
    }

    /// Half a sample of the fastest signal: times are written in decimal fractions.
    fn tolerance_ns(&self) -> u64 {
        let shortest = self.groups.iter().map(|group| group.info.duration_ns(1)).min();
        (shortest.unwrap_or(0) / 2).unsigned_abs()
    }

    fn flush(&mut self, number: usize) {
        let position = Position::Byte(self.byte_of(self.records_read));
        let Some(group) = self.groups.get_mut(number).filter(|group| !group.samples.is_empty()) else {
            return;
        };
        self.ready.push_back(SourceEvent::Chunk(Chunk {
            origin: 0,
            stream: number,
            arrival_ns: None,
            position,
            time_ns: group.time_ns,
            after_gap: std::mem::take(&mut group.after_gap),
            samples: std::mem::take(&mut group.samples),
        }));
    }

    fn byte_of(&self, record: u64) -> u64 {
        let header = Header::bytes(self.header.signals.len()) as u64;
        header.saturating_add(record.saturating_mul(self.header.record_bytes() as u64))
    }

    /// Samples in a record, annotations left out.
    fn samples_per_record(&self) -> u64 {
        self.groups.iter().map(|group| (group.rows_per_record * group.signals.len()) as u64).sum()
    }

    /// Gives what is left and says what is missing or too much.
    fn end(&mut self) -> Result<(), SourceError> {
        (0..self.groups.len()).for_each(|number| self.flush(number));
        self.state = State::Ended;
        let record_bytes = self.header.record_bytes() as u64;
        let rest_bytes = self.record.len() as u64
            + self.input.count_rest().map_err(|error| io_error(&self.path, error))?;
        let read = self.records_read;
        let damage = self.input.damage().map(|damage| format!(": {damage}")).unwrap_or_default();
        let (reason, records) = match self.header.records {
            Some(declared) if read < declared => (
                format!("the header says {declared} records, the file holds {read}{damage}"),
                declared - read,
            ),
            Some(declared) if rest_bytes > 0 => (
                format!(
                    "the header says {declared} records, behind which the file has {rest_bytes} bytes more"
                ),
                rest_bytes.div_ceil(record_bytes),
            ),
            None if rest_bytes > 0 || !damage.is_empty() => {
                (format!("the file ends within a record: {rest_bytes} bytes are left over{damage}"), 1)
            }
            _ => return Ok(()),
        };
        let samples = records.saturating_mul(self.samples_per_record());
        let letter = dead_letter(&self.origin, self.byte_of(read), reason, samples);
        self.ready.push_back(SourceEvent::DeadLetter { origin: 0, letter });
        Ok(())
    }
}

impl Source for EdfSource {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.state {
                State::Announcing(number) => match self.groups.get(number) {
                    Some(group) => {
                        self.state = State::Announcing(number + 1);
                        return Ok(SourceEvent::Stream { origin: 0, info: group.info.clone() });
                    }
                    None => self.state = State::Reading,
                },
                State::Reading => self.read_record()?,
                State::Ended => return Ok(SourceEvent::End),
            }
        }
    }

    fn total_samples(&self) -> Option<u64> {
        let stored = self
            .input
            .length()
            .map(|length| length.saturating_sub(self.byte_of(0)) / self.header.record_bytes().max(1) as u64);
        let records = match (self.header.records, stored) {
            (Some(declared), Some(stored)) => declared.min(stored),
            (declared, stored) => declared.or(stored)?,
        };
        Some(records.saturating_mul(self.samples_per_record()))
    }
}

#[cfg(test)]
mod tests;
