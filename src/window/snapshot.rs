//! The open frame of a stream as bytes.
//!
//! One record in bincode 2's standard configuration. Samples are bytes of the stream's sample type, little endian,
//! so that they come back exactly and take no more room than at their source.

use bincode::{BorrowDecode, Encode};

use super::open_frame::{Clock, OpenFrame};
use super::{FramerConfig, WindowError};
use crate::signal::{SampleType, StreamInfo, StreamKey};

const VERSION: u8 = 1;

/// A stream that was restored.
#[derive(Debug)]
pub(super) struct Saved {
    sample_rate_hz: f64,
    sample_type: SampleType,
    open: OpenFrame,
}

/// What a snapshot holds.
#[derive(Debug)]
pub(super) struct Restored {
    pub(super) key: StreamKey,
    pub(super) next: i64,
    pub(super) saved: Saved,
}

/// Lengths are checked against the input before anything is allocated: what has one is borrowed.
#[derive(Encode, BorrowDecode)]
struct Record<'a> {
    version: u8,
    frame_size: u64,
    channels: u64,
    key: &'a str,
    next: i64,
    sample_rate_hz: f64,
    sample_type: u8,
    lanes: u32,
    number: u64,
    after_gap: bool,
    start_ns: Option<i64>,
    /// Time and samples since.
    clock: Option<(i64, u64)>,
    /// The lanes one after the other.
    samples: &'a [u8],
}

/// How a [`Record`] begins.
#[derive(BorrowDecode)]
struct Beginning<'a> {
    version: u8,
    _frame_size: u64,
    _channels: u64,
    _key: &'a str,
    next: i64,
}

/// The position that a snapshot was taken with; none where the bytes are not one.
pub fn snapshot_position(bytes: &[u8]) -> Option<i64> {
    let decoded = bincode::borrow_decode_from_slice(bytes, bincode::config::standard());
    let (beginning, _): (Beginning<'_>, usize) = decoded.ok()?;
    (beginning.version == VERSION).then_some(beginning.next)
}

impl Saved {
    /// How many streams come out of it.
    pub(super) fn streams(&self) -> usize {
        self.open.lanes.len()
    }

    /// The state, where the stream `info` that comes out as `lanes` streams is still the one that was saved.
    pub(super) fn resume(&self, info: &StreamInfo, lanes: usize) -> Result<OpenFrame, WindowError> {
        let saved = (self.sample_rate_hz, self.sample_type, self.streams());
        if saved != (info.sample_rate_hz, info.sample_type, lanes) {
            return Err(WindowError::Snapshot(format!(
                "stream {} was saved at {} Hz as {} in {} streams, but is now at {} Hz as {} in {lanes}",
                info.key, saved.0, saved.1, saved.2, info.sample_rate_hz, info.sample_type,
            )));
        }
        Ok(self.open.clone())
    }
}

/// Encodes the state of a stream.
pub(super) fn encode(
    config: &FramerConfig,
    info: &StreamInfo,
    next: i64,
    open: &OpenFrame,
) -> Result<Vec<u8>, WindowError> {
    let samples = open.lanes.concat();
    let record = Record {
        version: VERSION,
        frame_size: config.frame_size as u64,
        channels: config.channels as u64,
        key: info.key.as_str(),
        next,
        sample_rate_hz: info.sample_rate_hz,
        sample_type: info.sample_type.code(),
        lanes: open.lanes.len() as u32,
        number: open.number,
        after_gap: open.after_gap,
        start_ns: open.start_ns,
        clock: open.clock.map(|clock| (clock.time_ns, clock.samples)),
        samples: &samples,
    };
    bincode::encode_to_vec(record, bincode::config::standard())
        .map_err(|error| WindowError::Snapshot(error.to_string()))
}

/// Decodes the state of a stream.
pub(super) fn decode(config: &FramerConfig, bytes: &[u8]) -> Result<Restored, WindowError> {
    let standard = bincode::config::standard();
    let damaged = |reason: String| WindowError::Snapshot(format!("is damaged: {reason}"));
    match bytes.first() {
        Some(&VERSION) => {}
        Some(version) => {
            let reason = format!("has version {version}, this program reads {VERSION}");
            return Err(WindowError::Snapshot(reason));
        }
        None => return Err(damaged("it is empty".to_owned())),
    }
    let (record, read): (Record<'_>, usize) =
        bincode::borrow_decode_from_slice(bytes, standard).map_err(|error| damaged(error.to_string()))?;
    if read != bytes.len() {
        return Err(damaged(format!("{} bytes are left over", bytes.len() - read)));
    }
    let FramerConfig { frame_size, channels, .. } = *config;
    if (record.frame_size, record.channels) != (frame_size as u64, channels as u64) {
        return Err(WindowError::Snapshot(format!(
            "was taken of frames of {} samples and {} channels, but they are now of {frame_size} and {channels}",
            record.frame_size, record.channels,
        )));
    }
    let saved = unpack(&record, frame_size, channels)
        .ok_or_else(|| damaged(format!("stream {} does not fit its frame", record.key)))?;
    Ok(Restored { key: StreamKey::new(record.key), next: record.next, saved })
}

fn unpack(record: &Record<'_>, frame_size: usize, channels: usize) -> Option<Saved> {
    let sample_type = SampleType::of_code(record.sample_type)?;
    let sample_bytes = usize::from(sample_type.bits() / 8);
    let samples = record.samples.len() / sample_bytes;
    let lanes = usize::try_from(record.lanes).ok().filter(|lanes| *lanes > 0)?;
    // Counters that no stream reaches would overflow soon.
    let counters = [record.number, record.clock.map_or(0, |(_, samples)| samples)];
    let countable = counters.iter().all(|counter| *counter < 1 << 62);
    let per_row = lanes.checked_mul(channels)?;
    let filled = samples / per_row;
    let whole = record.samples.len().is_multiple_of(sample_bytes) && samples.is_multiple_of(per_row);
    let fits = countable && whole && filled < frame_size;
    let finite = |bytes: &[u8]| sample_type.of_le(bytes).is_finite();
    // Without samples the lanes are not bounded by the input.
    if !fits || lanes > MAX_LANES || !record.samples.chunks_exact(sample_bytes).all(finite) {
        return None;
    }
    let lanes = match filled {
        0 => vec![Vec::new(); lanes],
        _ => record.samples.chunks_exact(filled * channels * sample_bytes).map(<[u8]>::to_vec).collect(),
    };
    let open = OpenFrame {
        number: record.number,
        after_gap: record.after_gap,
        start_ns: record.start_ns,
        clock: record.clock.map(|(time_ns, samples)| Clock { time_ns, samples }),
        arrival_ns: None,
        filled,
        lanes,
    };
    Some(Saved { sample_rate_hz: record.sample_rate_hz, sample_type, open })
}

/// As many as a packet may have channels.
const MAX_LANES: usize = crate::packet::MAX_CHANNELS as usize;
