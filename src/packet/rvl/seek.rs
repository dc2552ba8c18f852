//! The payload of a seek record: when the packets of an index block begin, and where the streams are described that
//! were announced since the block before. It is what lets a part of a file be read without the rest.

use std::collections::HashMap;

use super::index::IndexEntry;
use crate::packet::Header;
use crate::packet::bits::{BitReader, BitWriter, unzigzag, zigzag};
use crate::packet::error::PacketError;
use crate::packet::fields::{Fields, put};

const MILLISECOND_NS: i64 = 1_000_000;
/// Order of the code of frame sizes.
const SIZE_ORDER: u32 = 9;
/// Order of the code of the first time of a stream.
const FIRST_ORDER: u32 = 10;
/// Order of the code of further times.
const NEXT_ORDER: u32 = 1;

/// A packet that was written, as an index block and its seek record describe it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Written {
    pub(super) entry: IndexEntry,
    frame_size: u32,
    /// Of the first sample and after the last one.
    times_ns: Option<(i64, i64)>,
}

impl Written {
    pub(super) fn new(stream: u32, offset: u64, header: &Header) -> Self {
        let Header { first_frame, frames, frame_size, .. } = *header;
        Self {
            entry: IndexEntry { stream, first_frame, frames, offset },
            frame_size,
            times_ns: header.time_ns.zip(header.end_ns()),
        }
    }
}

/// When a packet begins, as far as a seek record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Samples per channel in a frame of its stream.
    pub frame_size: u32,
    /// Whole milliseconds since the Unix epoch before its first sample, where known.
    pub time_ms: Option<i64>,
}

/// What a seek record says without its index block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Places of stream records.
    pub(super) streams: Vec<u64>,
    /// Packets of the block.
    pub(super) packets: u64,
    /// Those with a time.
    pub(super) timed: u64,
    /// Whole milliseconds, from before the first of those begins to after the last one ends.
    pub(super) range_ms: (i64, i64),
}

/// The payload, without checksum.
pub(super) fn encode(streams: &[u64], packets: &[Written]) -> Result<Vec<u8>, PacketError> {
    let mut out = Vec::new();
    put(&mut out, streams.len() as u64)?;
    let mut last = 0;
    for place in streams {
        put(&mut out, place.wrapping_sub(last))?;
        last = *place;
    }
    let times = || packets.iter().filter_map(|packet| packet.times_ns);
    let timed = times().count();
    let is_mixed = (1..packets.len()).contains(&timed);
    put(&mut out, packets.len() as u64)?;
    put(&mut out, timed as u64)?;
    let first_ms = times().map(|(first, _)| first.div_euclid(MILLISECOND_NS)).min();
    if let Some(first_ms) = first_ms {
        let end_ms = times().map(|(_, end)| end.div_euclid(MILLISECOND_NS).saturating_add(1)).max();
        put(&mut out, zigzag(first_ms))?;
        put(&mut out, end_ms.unwrap_or(first_ms).wrapping_sub(first_ms) as u64)?;
    }
    let mut sizes = HashMap::new();
    for packet in packets {
        let size = sizes.entry(packet.entry.stream).or_insert(0);
        *size = packet.frame_size.max(*size);
    }
    let mut bits = BitWriter::after(out);
    let mut expected = Expected::new(first_ms.unwrap_or(0));
    for Written { entry, times_ns, .. } in packets {
        let (track, is_new) = expected.track(entry.stream);
        if is_new {
            track.frame_size = sizes.get(&entry.stream).copied().unwrap_or(0);
            bits.put_golomb(u64::from(track.frame_size), SIZE_ORDER);
        }
        if is_mixed {
            bits.put(u32::from(times_ns.is_some()), 1);
        }
        if let Some((time_ns, _)) = times_ns {
            let time_ms = time_ns.div_euclid(MILLISECOND_NS);
            let (guess, order) = expected.guess(entry);
            bits.put_golomb(zigzag(time_ms.wrapping_sub(guess)), order);
            expected.learn(entry, time_ms);
        }
    }
    Ok(bits.finish())
}

/// What stands before the bits.
pub(super) fn decode_summary(payload: &[u8]) -> Result<Summary, PacketError> {
    summary(&mut Fields::new(payload, "seek record"))
}

/// When each packet of the index block before it begins.
pub(super) fn decode(payload: &[u8], entries: &[IndexEntry]) -> Result<Vec<Timing>, PacketError> {
    let mut fields = Fields::new(payload, "seek record");
    let summary = summary(&mut fields)?;
    let wrong = || PacketError::corruption("seek record: it does not fit the index record before it");
    if summary.packets != entries.len() as u64 {
        return Err(wrong());
    }
    let mut bits = BitReader::new(fields.rest());
    let mut expected = Expected::new(summary.range_ms.0);
    // One bit for each packet says whether it has a time, where some have and some have not.
    let all = match summary.timed {
        0 => Some(false),
        timed if timed >= summary.packets => Some(true),
        _ => None,
    };
    let timings: Option<Vec<_>> = entries.iter().map(|entry| expected.take(&mut bits, entry, all)).collect();
    match (timings, bits.finish()) {
        (Some(timings), Some(_)) => Ok(timings),
        _ => Err(wrong()),
    }
}

fn summary(fields: &mut Fields<'_>) -> Result<Summary, PacketError> {
    let count: u64 = fields.take("number of streams")?;
    if count > fields.rest().len() as u64 {
        return Err(PacketError::corruption(format!("seek record: it cannot hold {count} streams")));
    }
    let mut streams = Vec::new();
    let mut last = 0_u64;
    for _ in 0..count {
        last = last.wrapping_add(fields.take("place of a stream")?);
        streams.push(last);
    }
    let packets = fields.take("number of packets")?;
    let timed = fields.take("number of times")?;
    let range_ms = if timed > 0 {
        let first = unzigzag(fields.take("first time")?);
        (first, first.wrapping_add(fields.take::<u64>("span of times")? as i64))
    } else {
        (0, 0)
    };
    Ok(Summary { streams, packets, timed, range_ms })
}

/// What is expected of the next time.
struct Expected {
    /// The last time of any stream.
    last_ms: i64,
    tracks: HashMap<u32, Track>,
}

/// What is known of a stream in the block.
#[derive(Default)]
struct Track {
    frame_size: u32,
    /// Time and first frame of its last packet with a time.
    last: Option<(i64, u64)>,
    /// How long a frame lasts.
    frame_us: i64,
}

impl Expected {
    fn new(first_ms: i64) -> Self {
        Self { last_ms: first_ms, tracks: HashMap::new() }
    }

    /// What is known of a stream, and whether that is nothing.
    fn track(&mut self, stream: u32) -> (&mut Track, bool) {
        let is_new = !self.tracks.contains_key(&stream);
        (self.tracks.entry(stream).or_default(), is_new)
    }

    /// The time that a packet should have, and the order of the code of what is different.
    fn guess(&self, entry: &IndexEntry) -> (i64, u32) {
        let track = self.tracks.get(&entry.stream);
        match track.and_then(|track| Some((track.last?, track.frame_us))) {
            None => (self.last_ms, FIRST_ORDER),
            Some(((time_ms, frame), frame_us)) => {
                let frames = entry.first_frame.wrapping_sub(frame) as i64;
                let passed = i128::from(frames) * i128::from(frame_us) / 1000;
                (time_ms.wrapping_add(passed as i64), NEXT_ORDER)
            }
        }
    }

    fn learn(&mut self, entry: &IndexEntry, time_ms: i64) {
        self.last_ms = time_ms;
        let Some(track) = self.tracks.get_mut(&entry.stream) else { return };
        if let Some((last_ms, frame)) = track.last {
            let frames = entry.first_frame.wrapping_sub(frame) as i64;
            if frames > 0 {
                let passed = i128::from(time_ms.wrapping_sub(last_ms)) * 1000 / i128::from(frames);
                track.frame_us = passed as i64;
            }
        }
        track.last = Some((time_ms, entry.first_frame));
    }

    /// The next timing; `all` says of every packet whether it has a time, if it is the same of all.
    fn take(&mut self, bits: &mut BitReader<'_>, entry: &IndexEntry, all: Option<bool>) -> Option<Timing> {
        let (track, is_new) = self.track(entry.stream);
        if is_new {
            track.frame_size = u32::try_from(bits.take_golomb(SIZE_ORDER)?).ok()?;
        }
        let frame_size = track.frame_size;
        let has_time = match all {
            Some(all) => all,
            None => bits.take(1)? == 1,
        };
        if !has_time {
            return Some(Timing { frame_size, time_ms: None });
        }
        let (guess, order) = self.guess(entry);
        let time_ms = guess.wrapping_add(unzigzag(bits.take_golomb(order)?));
        self.learn(entry, time_ms);
        Some(Timing { frame_size, time_ms: Some(time_ms) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::packet::samples::ecg;

    fn written(stream: u32, first_frame: u64, frames: u32, time_ns: Option<i64>, frame_size: u32) -> Written {
        let header =
            Header { time_ns, frame_size, last_valid: frame_size, ..ecg(first_frame, frames).header };
        Written::new(stream, 7, &header)
    }

    proptest! {
        #[test]
        fn timings_come_back(
            packets in prop::collection::vec(
                (0..3_u32, any::<u64>(), 1..50_u32, prop::option::of(any::<i64>()), 1..2000_u32), 0..40,
            ),
            mut streams in prop::collection::vec(any::<u64>(), 0..5),
        ) {
            streams.sort_unstable();
            let packets: Vec<_> = packets.into_iter()
                .map(|(stream, first, frames, time, size)| written(stream, first / 2, frames, time, size))
                .collect();
            let entries: Vec<_> = packets.iter().map(|packet| packet.entry).collect();
            let payload = encode(&streams, &packets).unwrap();
            let summary = decode_summary(&payload).unwrap();
            prop_assert_eq!(&summary.streams, &streams);
            let timings = decode(&payload, &entries).unwrap();
            prop_assert_eq!(timings.len(), packets.len());
            for (timing, packet) in timings.iter().zip(&packets) {
                let time = packet.times_ns.map(|(time, _)| time.div_euclid(MILLISECOND_NS));
                prop_assert_eq!(timing.time_ms, time);
                prop_assert!(timing.frame_size >= packet.frame_size);
                if let Some((_, end)) = packet.times_ns {
                    prop_assert!(time.unwrap() >= summary.range_ms.0);
                    prop_assert!(end.div_euclid(MILLISECOND_NS) < summary.range_ms.1);
                }
            }
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0..50_u64) {
            let entry = |i| IndexEntry { stream: (i % 3) as u32, first_frame: i, frames: 1, offset: i };
            let _ = decode(&bytes, &(0..count).map(entry).collect::<Vec<_>>());
        }
    }

    #[test]
    fn regular_times_take_less_than_half_a_byte() {
        let packets: Vec<_> = (0..1000)
            .map(|i| {
                let samples = i * 16 * 512 + 7;
                written(
                    0,
                    i * 16,
                    16,
                    Some(1_700_000_000_000_000_000 + crate::signal::duration_ns(360.0, samples)),
                    512,
                )
            })
            .collect();
        let bytes = encode(&[12], &packets).unwrap().len();
        assert!(bytes < 500, "{bytes}");
    }
}
