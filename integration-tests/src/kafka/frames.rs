//! Frames that should come out, frames that did, and how they differ.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use rivulet::codec::{Encoder, FrameRun, RvqEncoder};
use rivulet::model::Architecture;
use rivulet::packet::{ChannelSide, Header, LayerId, Packet, unpack_codes};
use rivulet::signal::StreamInfo;

use super::client::Record;
use super::workload::Workload;
use crate::codec::{chunk, decoded, ecg_model, framer, stream_info};

/// The whole frames of one stream, encoded and decoded again by the library.
pub fn through_the_codec(key: &str, samples: &[i16]) -> Vec<f64> {
    let info = stream_info(key);
    decoded(&info, cut(&info, samples).chunks(64))
}

/// The whole frames of a stream.
fn cut(info: &StreamInfo, samples: &[i16]) -> Vec<rivulet::signal::Frame> {
    let mut frames = Vec::new();
    framer(info).push(&chunk(samples, false), &mut frames).expect("whole rows");
    frames
}

/// What makes a frame the same wherever and with whatever it was packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Its codes; none if it is constant.
    pub codes: Vec<u16>,
    /// Its scaling, channel by channel.
    pub side: Vec<ChannelSide>,
    /// Its samples that came from the source.
    pub valid: u32,
}

impl Frame {
    /// How it differs from the one that should be there.
    fn unlike(&self, wanted: &Self) -> String {
        let codes = self.codes.iter().zip(&wanted.codes).filter(|(found, wanted)| found != wanted).count();
        format!(
            "{codes} of {} codes differ from the {} wanted; {:?} and {} valid samples, not {:?} and {}",
            self.codes.len(),
            wanted.codes.len(),
            self.side,
            self.valid,
            wanted.side,
            wanted.valid
        )
    }
}

/// Names a frame: a reader drops repeats by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId {
    /// The source partition of the stream, `topic/partition`.
    pub source: String,
    /// The stream's key.
    pub key: String,
    /// The frame's number in its stream.
    pub number: u64,
}

/// The frames of streams, each stream's in the order in which they came.
#[derive(Debug, Default)]
pub struct Frames {
    streams: BTreeMap<(String, String), Vec<(u64, Frame)>>,
}

impl Frames {
    /// The frames that the messages of `workload` in `topic` make.
    pub fn expected(workload: &Workload, topic: &str) -> Self {
        let streams = workload.samples().into_iter().enumerate().map(|(number, (key, samples))| {
            (format!("{topic}/{}", number % workload.partitions), key, samples)
        });
        Self::of_samples(streams)
    }

    /// The whole frames of streams, each given as its source partition, its key and its samples. They are made by
    /// the library's framer and encoder.
    pub fn of_samples(streams: impl IntoIterator<Item = (String, String, Vec<i16>)>) -> Self {
        let model = ecg_model();
        let architecture = model.architecture();
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let mut encoder = RvqEncoder::new(model, threads).expect("the model runs");
        let mut all = Self::default();
        for (source, key, samples) in streams {
            let info = stream_info(&key);
            let frames = cut(&info, &samples);
            let runs: Vec<FrameRun<'_>> =
                frames.chunks(64).map(|frames| FrameRun { stream: &info, frames }).collect();
            let found = all.streams.entry((source, key)).or_default();
            for packet in encoder.encode(&runs).expect("frames of the model's size") {
                found.extend(frames_of(&packet, architecture));
            }
        }
        all
    }

    /// The frames of a packet topic's messages.
    ///
    /// # Panics
    /// If a message is not a packet, or its key or headers do not say what the packet says.
    #[track_caller]
    pub fn of_packets(records: &[Record]) -> Self {
        let model = ecg_model();
        let mut all = Self::default();
        for record in records {
            let at = || format!("partition {} offset {}", record.partition, record.offset);
            let value = record.value.as_deref().unwrap_or_default();
            let packet = Packet::from_bytes(value).unwrap_or_else(|error| panic!("{}: {error}", at()));
            assert_eq!(packet.header.model, model.id(), "{}", at());
            assert!(!packet.header.after_gap, "{}: nothing is missing in the input", at());
            assert_eq!(record.header("rivulet-model"), Some(model.id().to_string().as_str()), "{}", at());
            let first = packet.header.first_frame.to_string();
            assert_eq!(record.header("rivulet-first-frame"), Some(first.as_str()), "{}", at());
            for name in ["content-type", "rivulet-version"] {
                assert!(record.header(name).is_some(), "{}: no header {name}", at());
            }
            let stream = (source_of(record), key_of(record));
            all.streams.entry(stream).or_default().extend(frames_of(&packet, model.architecture()));
        }
        all
    }

    /// Different frames in a packet topic's messages, counted without unpacking them.
    pub fn count_distinct(records: &[Record]) -> usize {
        let mut seen = BTreeSet::new();
        for record in records {
            let Ok(header) = Header::read(record.value.as_deref().unwrap_or_default()) else { continue };
            let numbers = header.first_frame..header.first_frame + u64::from(header.frames);
            seen.extend(numbers.map(|number| FrameId {
                source: source_of(record),
                key: key_of(record),
                number,
            }));
        }
        seen.len()
    }

    /// Frames in all streams, repeats included.
    pub fn len(&self) -> usize {
        self.streams.values().map(Vec::len).sum()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Holds that these are the `expected` frames, each once and in order.
    #[track_caller]
    pub fn assert_exactly(&self, expected: &Self) {
        let repeats = self.assert_at_least(expected);
        assert!(repeats.is_empty(), "{} frames were repeated, first {:?}", repeats.len(), repeats.first());
    }

    /// Holds that all `expected` frames are there and no others, and that each stream goes on where it was or
    /// steps back to repeat. Returns the repeats, which are equal to what they repeat.
    #[track_caller]
    pub fn assert_at_least(&self, expected: &Self) -> Vec<FrameId> {
        let mut problems = Vec::new();
        let mut repeats = Vec::new();
        for (stream @ (source, key), found) in &self.streams {
            let Some(wanted) = expected.streams.get(stream) else {
                problems.push(format!("{source} {key}: a stream that nobody sent, {} frames", found.len()));
                continue;
            };
            let mut next = 0;
            for (number, frame) in found {
                let id = || FrameId { source: source.clone(), key: key.clone(), number: *number };
                match wanted.get(*number as usize) {
                    None => problems.push(format!("{:?}: the stream has {} frames", id(), wanted.len())),
                    Some((_, same)) if same == frame => {}
                    Some((_, other)) => problems.push(format!("{:?}: {}", id(), frame.unlike(other))),
                }
                match *number {
                    number if number == next => next += 1,
                    number if number < next => repeats.push(id()),
                    _ => {
                        problems.push(format!("{:?}: comes where frame {next} should", id()));
                        next = number + 1;
                    }
                }
            }
        }
        for (stream @ (source, key), wanted) in &expected.streams {
            let found = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
            let numbers: BTreeSet<u64> = found.iter().map(|(number, _)| *number).collect();
            let missing: Vec<u64> =
                wanted.iter().map(|(number, _)| *number).filter(|number| !numbers.contains(number)).collect();
            if !missing.is_empty() {
                problems.push(format!(
                    "{source} {key}: {} of {} frames are missing, first {}",
                    missing.len(),
                    wanted.len(),
                    missing[0]
                ));
            }
        }
        let shown = problems.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(
            problems.is_empty(),
            "{} problems with {} frames, {} expected:\n{shown}",
            problems.len(),
            self.len(),
            expected.len()
        );
        repeats
    }
}

fn source_of(record: &Record) -> String {
    record.header("rivulet-source").unwrap_or_else(|| panic!("no source: {:?}", record.headers)).to_owned()
}

fn key_of(record: &Record) -> String {
    let key = record.key.as_deref().unwrap_or_else(|| panic!("no key: {:?}", record.headers));
    String::from_utf8(key.to_vec()).unwrap_or_else(|error| panic!("{error}"))
}

/// The frames that a packet of one RVQ layer holds, with their numbers.
fn frames_of(packet: &Packet, architecture: &Architecture) -> Vec<(u64, Frame)> {
    let Header { first_frame, frames, frame_size, last_valid, channels, .. } = packet.header;
    let codes_per_frame = architecture.latent_positions() * architecture.num_levels;
    let sides: Vec<&[ChannelSide]> = packet.side.chunks_exact(usize::from(channels)).collect();
    let varies = |side: &[ChannelSide]| !side.iter().all(|channel| channel.is_constant());
    let varying = sides.iter().filter(|side| varies(side)).count();
    let payload = match packet.layers.as_slice() {
        [] => &[],
        [layer] if layer.id == LayerId::PackedCodes => layer.payload.as_slice(),
        layers => panic!("an RVQ packet with layers {layers:?}"),
    };
    let codes = unpack_codes(payload, architecture.index_bits(), varying * codes_per_frame)
        .unwrap_or_else(|error| panic!("frame {first_frame}: {error}"));
    let mut codes = codes.chunks_exact(codes_per_frame);
    sides
        .into_iter()
        .enumerate()
        .map(|(place, side)| {
            let own = if varies(side) { codes.next().unwrap_or_default().to_vec() } else { Vec::new() };
            let valid = if place as u32 + 1 == frames { last_valid } else { frame_size };
            (first_frame + place as u64, Frame { codes: own, side: side.to_vec(), valid })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Workload {
        Workload { seed: 5, messages: 200, keys: 8, partitions: 2, max_samples: 120 }
    }

    /// The expected frames as messages of a packet topic, one frame each.
    fn records(frames: impl Iterator<Item = usize>, stream: &str) -> Vec<Record> {
        let workload = small();
        let (_, samples) = workload.samples().into_iter().find(|(key, _)| key == stream).expect("a key");
        let model = ecg_model();
        let mut encoder = RvqEncoder::new(model, NonZeroUsize::MIN).expect("the model runs");
        let info = stream_info(stream);
        let all = cut(&info, &samples);
        frames
            .map(|place| {
                let run = FrameRun { stream: &info, frames: &all[place..=place] };
                let packet = encoder.encode(&[run]).expect("a frame").remove(0);
                let headers = [
                    ("content-type", "application/octet-stream".to_owned()),
                    ("rivulet-version", "1".to_owned()),
                    ("rivulet-model", model.id().to_string()),
                    ("rivulet-first-frame", place.to_string()),
                    ("rivulet-source", "in/0".to_owned()),
                ];
                Record {
                    partition: 0,
                    offset: 0,
                    key: Some(stream.as_bytes().to_vec()),
                    value: Some(packet.to_bytes().expect("a packet")),
                    headers: headers.map(|(name, text)| (name.to_owned(), text.into_bytes())).to_vec(),
                }
            })
            .collect()
    }

    fn expected() -> Frames {
        let mut all = Frames::expected(&small(), "in");
        all.streams.retain(|(_, key), _| key == "device-02");
        assert!(all.len() >= 2, "{}", all.len());
        all
    }

    #[test]
    fn frames_packed_one_by_one_are_the_expected_ones() {
        let expected = expected();
        let found = records(0..expected.len(), "device-02");
        assert_eq!(Frames::count_distinct(&found), expected.len());
        Frames::of_packets(&found).assert_exactly(&expected);
    }

    #[test]
    fn a_repeat_is_found_by_its_id() {
        let expected = expected();
        let found = records((0..2).chain(1..expected.len()), "device-02");
        assert_eq!(Frames::count_distinct(&found), expected.len());
        let repeats = Frames::of_packets(&found).assert_at_least(&expected);
        assert_eq!(repeats.iter().map(|id| id.number).collect::<Vec<_>>(), [1]);
    }

    #[test]
    #[should_panic(expected = "were repeated")]
    fn a_repeat_is_not_exactly_once() {
        let expected = expected();
        Frames::of_packets(&records((0..2).chain(1..expected.len()), "device-02")).assert_exactly(&expected);
    }

    #[test]
    #[should_panic(expected = "frames are missing")]
    fn a_lost_frame_is_missed() {
        let expected = expected();
        Frames::of_packets(&records(0..expected.len() - 1, "device-02")).assert_at_least(&expected);
    }

    #[test]
    #[should_panic(expected = "comes where frame 0 should")]
    fn a_hole_is_seen_where_it_is() {
        let expected = expected();
        Frames::of_packets(&records(1..expected.len(), "device-02")).assert_at_least(&expected);
    }

    #[test]
    #[should_panic(expected = "codes differ")]
    fn other_codes_are_seen() {
        let expected = expected();
        let mut found = records(0..expected.len(), "device-02");
        found[1].value = found[0].value.clone();
        let mut other = Packet::from_bytes(found[0].value.as_deref().unwrap_or_default()).expect("a packet");
        other.header.first_frame = 1;
        found[1].value = Some(other.to_bytes().expect("a packet"));
        Frames::of_packets(&found).assert_at_least(&expected);
    }
}
