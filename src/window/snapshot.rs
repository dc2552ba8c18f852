//! Open frames as bytes.
//!
//! A version byte, `frame_size` and `channels`, then one record after the other to the end, all in bincode 2's
//! standard configuration. Samples are the little-endian bytes of their `f64`, so that they come back exactly.

use std::collections::BTreeMap;

use bincode::{BorrowDecode, Encode};

use super::WindowError;
use super::open_frame::{Clock, OpenFrame};
use crate::signal::{StreamInfo, StreamKey};

const VERSION: u8 = 1;

/// A stream that was restored.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) sample_rate_hz: f64,
    pub(super) open: OpenFrame,
}

#[derive(Encode, BorrowDecode)]
struct Head {
    version: u8,
    frame_size: u64,
    channels: u64,
}

/// One stream. Lengths are checked against the input before anything is allocated: what has one is borrowed.
#[derive(Encode, BorrowDecode)]
struct Record<'a> {
    key: &'a str,
    sample_rate_hz: f64,
    lanes: u32,
    number: u64,
    after_gap: bool,
    start_ns: Option<i64>,
    /// Time and samples since.
    clock: Option<(i64, u64)>,
    /// The lanes one after the other.
    samples: &'a [u8],
}

impl Saved {
    /// How many streams come out of it.
    pub(super) fn streams(&self) -> usize {
        self.open.lanes.len()
    }

    /// The state, where the stream `info` that comes out as `lanes` streams is still the one that was saved.
    pub(super) fn resume(&self, info: &StreamInfo, lanes: usize) -> Result<OpenFrame, WindowError> {
        if self.sample_rate_hz != info.sample_rate_hz || self.streams() != lanes {
            return Err(WindowError::Snapshot(format!(
                "stream {} was saved at {} Hz in {} streams, but is now at {} Hz in {lanes}",
                info.key,
                self.sample_rate_hz,
                self.streams(),
                info.sample_rate_hz,
            )));
        }
        Ok(self.open.clone())
    }
}

/// Encodes streams given as key, sample rate and state.
pub(super) fn encode<'a>(
    frame_size: usize,
    channels: usize,
    streams: impl Iterator<Item = (&'a StreamKey, f64, &'a OpenFrame)>,
) -> Result<Vec<u8>, WindowError> {
    let config = bincode::config::standard();
    let failed = |error: bincode::error::EncodeError| WindowError::Snapshot(error.to_string());
    let head = Head { version: VERSION, frame_size: frame_size as u64, channels: channels as u64 };
    let mut bytes = bincode::encode_to_vec(head, config).map_err(failed)?;
    let mut samples = Vec::new();
    for (key, sample_rate_hz, open) in streams {
        samples.clear();
        samples.extend(open.lanes.iter().flatten().flat_map(|sample| sample.to_le_bytes()));
        let record = Record {
            key: key.as_str(),
            sample_rate_hz,
            lanes: open.lanes.len() as u32,
            number: open.number,
            after_gap: open.after_gap,
            start_ns: open.start_ns,
            clock: open.clock.map(|clock| (clock.time_ns, clock.samples)),
            samples: &samples,
        };
        bincode::encode_into_std_write(record, &mut bytes, config).map_err(failed)?;
    }
    Ok(bytes)
}

/// Decodes the streams of a snapshot, at most `max_streams` as they come out, by their keys.
pub(super) fn decode(
    frame_size: usize,
    channels: usize,
    max_streams: usize,
    bytes: &[u8],
) -> Result<BTreeMap<StreamKey, Saved>, WindowError> {
    let config = bincode::config::standard();
    let damaged = |error: bincode::error::DecodeError| WindowError::Snapshot(format!("is damaged: {error}"));
    let (head, read): (Head, usize) = bincode::borrow_decode_from_slice(bytes, config).map_err(damaged)?;
    if head.version != VERSION {
        let reason = format!("has version {}, this program reads {VERSION}", head.version);
        return Err(WindowError::Snapshot(reason));
    }
    if (head.frame_size, head.channels) != (frame_size as u64, channels as u64) {
        return Err(WindowError::Snapshot(format!(
            "was taken of frames of {} samples and {} channels, but they are now of {frame_size} and {channels}",
            head.frame_size, head.channels,
        )));
    }
    let mut streams = BTreeMap::new();
    let mut room = max_streams;
    let mut rest = bytes.get(read..).unwrap_or_default();
    while !rest.is_empty() {
        let (record, read): (Record<'_>, usize) =
            bincode::borrow_decode_from_slice(rest, config).map_err(damaged)?;
        rest = rest.get(read..).unwrap_or_default();
        let key = StreamKey::new(record.key);
        room = room.checked_sub(record.lanes as usize).ok_or_else(|| {
            WindowError::Snapshot(format!("holds more than {max_streams} streams (max_streams)"))
        })?;
        let saved = unpack(&record, frame_size, channels).ok_or_else(|| {
            WindowError::Snapshot(format!("is damaged: stream {key} does not fit its frame"))
        })?;
        streams.insert(key, saved);
    }
    Ok(streams)
}

fn unpack(record: &Record<'_>, frame_size: usize, channels: usize) -> Option<Saved> {
    let (samples, cut) = record.samples.as_chunks::<8>();
    let samples: Vec<f64> = samples.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
    let lanes = usize::try_from(record.lanes).ok().filter(|lanes| *lanes > 0)?;
    // Counters that no stream reaches would overflow soon.
    let counters = [record.number, record.clock.map_or(0, |(_, samples)| samples)];
    let countable = counters.iter().all(|counter| *counter < 1 << 62);
    let per_row = lanes.checked_mul(channels)?;
    let filled = samples.len() / per_row;
    let fits = countable && cut.is_empty() && samples.len().is_multiple_of(per_row) && filled < frame_size;
    if !fits || !samples.iter().all(|sample| sample.is_finite()) {
        return None;
    }
    let lanes = match filled {
        0 => vec![Vec::new(); lanes],
        _ => samples.chunks_exact(filled * channels).map(<[f64]>::to_vec).collect(),
    };
    let open = OpenFrame {
        number: record.number,
        after_gap: record.after_gap,
        start_ns: record.start_ns,
        clock: record.clock.map(|(time_ns, samples)| Clock { time_ns, samples }),
        filled,
        lanes,
    };
    Some(Saved { sample_rate_hz: record.sample_rate_hz, open })
}
