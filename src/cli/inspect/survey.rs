//! What a file holds, counted in one pass.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use serde::Serialize;

use crate::model::ModelId;
use crate::packet::rvl::{ContainerParts, Event, Reader};
use crate::packet::{Header, PacketError, PacketParts};
use crate::signal::{SampleType, StreamInfo};

/// Damaged places that are kept one by one; the others are only counted.
const KEPT_DAMAGE: usize = 100;

/// What a file holds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Survey {
    /// True if its writer finished it.
    pub(super) closed: bool,
    pub(super) streams: Vec<Stream>,
    pub(super) total: Total,
    pub(super) bytes: Bytes,
    /// The models that its packets need.
    pub(super) models: BTreeSet<ModelId>,
    pub(super) damaged_places: u64,
    /// The first of them.
    pub(super) damage: Vec<Damage>,
}

/// One stream of a file.
#[derive(Debug, Serialize)]
pub(super) struct Stream {
    pub(super) number: u32,
    pub(super) key: String,
    /// True if its record was lost and the key is invented.
    pub(super) recovered: bool,
    pub(super) channels: Vec<Channel>,
    pub(super) sample_rate_hz: f64,
    pub(super) sample_type: SampleType,
    pub(super) stored_bits: u8,
    pub(super) packets: u64,
    pub(super) frames: u64,
    /// Samples of all channels, without padding.
    pub(super) samples: u64,
    /// Packets before which the source had lost samples.
    pub(super) gaps: u64,
    /// Frames that no packet holds, though later ones are there.
    pub(super) missing_frames: u64,
    /// Frames that came again.
    pub(super) repeated_frames: u64,
    /// Nanoseconds since the Unix epoch, of the first sample and after the last one.
    pub(super) first_time_ns: Option<i64>,
    pub(super) end_time_ns: Option<i64>,
    pub(super) packet_bytes: u64,
    #[serde(skip)]
    next_frame: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) gain: f64,
    pub(super) baseline: f64,
}

/// All streams together.
#[derive(Debug, Default, Serialize)]
pub(super) struct Total {
    pub(super) packets: u64,
    pub(super) frames: u64,
    pub(super) samples: u64,
    pub(super) gaps: u64,
    pub(super) missing_frames: u64,
    pub(super) repeated_frames: u64,
    /// The samples at the bits that their source spends on them.
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) ratio: Option<f64>,
}

/// Where the bytes of the file go.
#[derive(Debug, Default, Serialize)]
pub(super) struct Bytes {
    pub(super) header: u64,
    pub(super) side: u64,
    pub(super) indices: u64,
    pub(super) checksum: u64,
    pub(super) container: Container,
    pub(super) damaged: u64,
    pub(super) torn: u64,
    pub(super) total: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Container {
    pub(super) file_header: u64,
    pub(super) record_heads: u64,
    pub(super) streams: u64,
    pub(super) index: u64,
    pub(super) unknown: u64,
    pub(super) total: u64,
}

/// A place that cannot be read.
#[derive(Debug, Serialize)]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) reason: String,
}

impl Survey {
    /// Reads a file to its end.
    pub(super) fn of(input: impl Read) -> Result<Self, PacketError> {
        let mut reader = Reader::new(input);
        let mut survey = Self::default();
        let mut streams = BTreeMap::new();
        let mut parts = PacketParts::default();
        let torn = loop {
            match reader.next_event()? {
                Event::Stream { number, info, recovered } => {
                    streams.insert(number, Stream::new(number, info, recovered));
                }
                Event::Packet { stream, packet, parts: of_packet, .. } => {
                    parts += of_packet;
                    survey.models.insert(packet.header.model);
                    if let Some(stream) = streams.get_mut(&stream) {
                        stream.add(&packet.header, of_packet.total());
                    }
                }
                Event::Damage { offset, bytes, error } => {
                    survey.damaged_places += 1;
                    survey.bytes.damaged += bytes;
                    if survey.damage.len() < KEPT_DAMAGE {
                        survey.damage.push(Damage { offset, bytes, reason: error.to_string() });
                    }
                }
                Event::End { torn_bytes, closed } => {
                    survey.closed = closed;
                    break torn_bytes;
                }
            }
        };
        survey.streams = streams.into_values().collect();
        survey.bytes.add_up(parts, reader.container(), torn);
        survey.total = Total::of(&survey.streams, survey.bytes.total);
        Ok(survey)
    }

    /// What is wrong with the file, in one line.
    pub(super) fn complaint(&self) -> Option<String> {
        let places = (self.damaged_places > 0)
            .then(|| format!("{} damaged bytes in {} places", self.bytes.damaged, self.damaged_places));
        let torn =
            (self.bytes.torn > 0).then(|| format!("the last record is cut after {} bytes", self.bytes.torn));
        let complaints: Vec<_> = places.into_iter().chain(torn).collect();
        (!complaints.is_empty()).then(|| complaints.join("; "))
    }
}

impl Stream {
    fn new(number: u32, info: StreamInfo, recovered: bool) -> Self {
        let channels = info.channels.into_iter().map(|channel| Channel {
            name: channel.name,
            unit: channel.unit,
            gain: channel.gain,
            baseline: channel.baseline,
        });
        Self {
            number,
            key: info.key.to_string(),
            recovered,
            channels: channels.collect(),
            sample_rate_hz: info.sample_rate_hz,
            sample_type: info.sample_type,
            stored_bits: info.stored_bits,
            packets: 0,
            frames: 0,
            samples: 0,
            gaps: 0,
            missing_frames: 0,
            repeated_frames: 0,
            first_time_ns: None,
            end_time_ns: None,
            packet_bytes: 0,
            next_frame: None,
        }
    }

    fn add(&mut self, header: &Header, bytes: u64) {
        let frames = u64::from(header.frames);
        let after = header.first_frame + frames;
        let expected = self.next_frame.unwrap_or(header.first_frame);
        self.packets += 1;
        self.frames += frames;
        self.samples += header.valid_samples() * u64::from(header.channels);
        self.gaps += u64::from(header.after_gap);
        self.missing_frames = self.missing_frames.saturating_add(header.first_frame.saturating_sub(expected));
        self.repeated_frames += expected.saturating_sub(header.first_frame).min(frames);
        self.next_frame = Some(expected.max(after));
        self.packet_bytes += bytes;
        if let Some(time) = header.time_ns {
            let duration = header.valid_samples() as f64 / header.sample_rate_hz * 1e9;
            let end = time.saturating_add(duration.round() as i64);
            self.first_time_ns = Some(self.first_time_ns.map_or(time, |first| first.min(time)));
            self.end_time_ns = Some(self.end_time_ns.map_or(end, |last| last.max(end)));
        }
    }

    /// Seconds of signal, gaps not counted.
    pub(super) fn seconds(&self) -> f64 {
        self.samples as f64 / self.channels.len().max(1) as f64 / self.sample_rate_hz
    }
}

impl Total {
    fn of(streams: &[Stream], bytes_out: u64) -> Self {
        let sum = |count: fn(&Stream) -> u64| streams.iter().map(count).fold(0, u64::saturating_add);
        let bits: u128 = streams.iter().map(|s| u128::from(s.samples) * u128::from(s.stored_bits)).sum();
        let bytes_in = u64::try_from(bits.div_ceil(8)).unwrap_or(u64::MAX);
        Self {
            packets: sum(|s| s.packets),
            frames: sum(|s| s.frames),
            samples: sum(|s| s.samples),
            gaps: sum(|s| s.gaps),
            missing_frames: sum(|s| s.missing_frames),
            repeated_frames: sum(|s| s.repeated_frames),
            bytes_in,
            bytes_out,
            ratio: (bytes_in > 0).then(|| bytes_in as f64 / bytes_out as f64),
        }
    }
}

impl Bytes {
    fn add_up(&mut self, packets: PacketParts, container: ContainerParts, torn: u64) {
        self.header = packets.header;
        self.side = packets.side;
        self.indices = packets.indices;
        self.checksum = packets.checksum;
        self.container = Container {
            file_header: container.file_header,
            record_heads: container.record_heads,
            streams: container.streams,
            index: container.index,
            unknown: container.unknown,
            total: container.total(),
        };
        self.torn = torn;
        self.total = packets.total() + container.total() + self.damaged + torn;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::packet::rvl::Writer;
    use crate::packet::{ChannelSide, Layer, LayerId, Packet};
    use crate::signal::{ChannelInfo, StreamKey};

    const SECOND: i64 = 1_000_000_000;

    fn packet(first_frame: u64, frames: u32, time_ns: Option<i64>) -> Packet {
        Packet {
            header: Header {
                model: ModelId(*b"\x01\x23\x45\x67\x89\xab\xcd\xef"),
                key_packet: true,
                after_gap: first_frame == 9,
                sample_type: SampleType::I16,
                channels: 1,
                sample_rate_hz: 100.0,
                frame_size: 100,
                first_frame,
                time_ns,
                frames,
                last_valid: 100,
            },
            side: vec![ChannelSide::nearest(3.0, 20.0); frames as usize],
            layers: vec![Layer { id: LayerId::PackedCodes, payload: vec![7; 12 * frames as usize] }],
        }
    }

    /// Two streams; the first lacks frames 4 to 8 and has frame 10 twice.
    pub(in super::super) fn file() -> Vec<u8> {
        let info = |key: &str, stored_bits| StreamInfo {
            key: StreamKey::new(key),
            sample_rate_hz: 100.0,
            sample_type: SampleType::I16,
            stored_bits,
            channels: vec![ChannelInfo::unscaled("I")],
        };
        let mut writer = Writer::new(Vec::new()).unwrap();
        let a = writer.add_stream(&info("a/I", 12)).unwrap();
        let b = writer.add_stream(&info("b/I", 16)).unwrap();
        let mut put =
            |stream, packet: Packet| writer.write_packet(stream, &packet.to_bytes().unwrap()).unwrap();
        put(a, packet(0, 4, Some(1_700_000_000 * SECOND)));
        put(b, packet(50, 1, None));
        put(a, packet(9, 2, Some(1_700_000_009 * SECOND)));
        put(a, packet(10, 1, Some(1_700_000_010 * SECOND)));
        writer.finish().unwrap().0
    }

    #[test]
    fn everything_is_counted() {
        let bytes = file();
        let survey = Survey::of(&bytes[..]).unwrap();
        let [a, b] = &survey.streams[..] else { panic!("two streams") };
        assert_eq!((a.key.as_str(), a.packets, a.frames, a.samples), ("a/I", 3, 7, 700));
        assert_eq!((a.gaps, a.missing_frames, a.repeated_frames), (1, 5, 1));
        assert_eq!(a.first_time_ns, Some(1_700_000_000 * SECOND));
        assert_eq!(a.end_time_ns, Some(1_700_000_011 * SECOND));
        assert_eq!((b.packets, b.frames, b.missing_frames, b.first_time_ns), (1, 1, 0, None));
        assert_eq!(survey.total.bytes_in, 700 * 12 / 8 + 100 * 2);
        assert_eq!(survey.total.bytes_out, bytes.len() as u64);
        assert_eq!(survey.bytes.indices, 4 * 2 + 8 * 12);
        assert_eq!(survey.bytes.checksum, 16);
        assert_eq!(survey.models.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0123456789abcdef"]);
        assert!(survey.closed && survey.complaint().is_none());
    }

    #[test]
    fn damage_is_told_from_a_torn_tail() {
        let mut bytes = file();
        let torn = Survey::of(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(torn.complaint().unwrap(), "the last record is cut after 19 bytes");
        bytes[20] ^= 1;
        let damaged = Survey::of(&bytes[..]).unwrap();
        assert_eq!((damaged.damaged_places, damaged.damage[0].offset), (1, 12));
        assert_eq!(damaged.bytes.total, bytes.len() as u64);
        assert!(damaged.streams[0].recovered);
        assert_eq!(damaged.streams[0].key, "stream-0");
    }
}
