//! Packets become samples again, as one synchronous stage: packets in, messages of samples out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::decoders::{Decoders, DecodersError};
use crate::codec::Decoder;
use crate::config::KafkaEncoding;
use crate::packet::{Continuity, Header, Packet};
use crate::signal::{
    ChannelInfo, Checkpoint, DeadLetter, Message, Origin, OriginCheckpoint, OriginIndex, Position, Stage,
    StreamIndex, StreamInfo, StreamKey,
};
use crate::sink::{DecodedFrames, SampleMessage};
use crate::source::{OpenOrigin, PacketMessage};

/// Sources of one stream that are told apart; what is in messages decides on their number.
const MAX_SOURCES: usize = 16;

/// Decodes packets, leaves out frames that came before, and cuts the others into messages.
///
/// How far a stream has come is not kept across restarts: a frame that was written twice passes twice where the
/// stage begins between the two.
pub(super) struct DecodeStage {
    decoders: Decoders,
    encodings: Vec<KafkaEncoding>,
    max_streams: usize,
    origins: BTreeMap<OriginIndex, OriginPackets>,
    /// Streams that were announced so far; a stream's index is never used again.
    announced: StreamIndex,
}

/// The packets of one origin.
struct OriginPackets {
    origin: Origin,
    /// The next position to be read.
    next: i64,
    /// True if `next` has changed since the last checkpoint.
    moved: bool,
    streams: HashMap<StreamKey, PacketStream>,
}

struct PacketStream {
    index: StreamIndex,
    touched: Instant,
    /// By source: each numbers its frames by itself.
    sources: HashMap<Arc<str>, Continuity>,
}

/// What became of a packet.
#[derive(Default)]
pub(super) struct Decoded {
    /// Its stream, if it is a new one.
    pub(super) stream: Option<(StreamIndex, Arc<StreamInfo>, Origin)>,
    pub(super) messages: Vec<SampleMessage>,
    /// Frames that came before.
    pub(super) repeated_frames: u64,
    /// Samples of all channels in the messages.
    pub(super) samples: u64,
    /// Why it cannot be used.
    pub(super) letter: Option<DeadLetter>,
}

impl DecodeStage {
    /// A stage without streams. Samples leave in each of the `encodings`.
    pub(crate) fn new(decoders: Decoders, encodings: Vec<KafkaEncoding>, max_streams: usize) -> Self {
        Self { decoders, encodings, max_streams, origins: BTreeMap::new(), announced: 0 }
    }

    pub(super) fn open(&mut self, opened: OpenOrigin) {
        let packets =
            OriginPackets { origin: opened.origin, next: opened.next, moved: false, streams: HashMap::new() };
        self.origins.insert(opened.index, packets);
    }

    pub(super) fn close(&mut self, origins: &[OriginIndex]) -> Vec<StreamIndex> {
        let closed = origins.iter().filter_map(|origin| self.origins.remove(origin));
        closed.flat_map(|origin| origin.streams.into_values().map(|stream| stream.index)).collect()
    }

    pub(super) fn close_all(&mut self) -> Vec<StreamIndex> {
        let all: Vec<_> = self.origins.keys().copied().collect();
        self.close(&all)
    }

    pub(super) fn origin(&self, origin: OriginIndex) -> Option<&Origin> {
        self.origins.get(&origin).map(|packets| &packets.origin)
    }

    pub(super) fn pass(&mut self, origin: OriginIndex, position: Position) {
        if let (Some(packets), Position::Offset(offset)) = (self.origins.get_mut(&origin), position)
            && offset >= packets.next
        {
            packets.next = offset.saturating_add(1);
            packets.moved = true;
        }
    }

    /// Forgets how far streams have come that nothing was heard of since `before`.
    pub(super) fn forget_idle(&mut self, before: Instant) -> Vec<StreamIndex> {
        let idle = |_: &StreamKey, stream: &mut PacketStream| stream.touched <= before;
        let origins = self.origins.values_mut();
        origins.flat_map(|packets| packets.streams.extract_if(idle)).map(|(_, stream)| stream.index).collect()
    }

    pub(super) fn open_streams(&self) -> usize {
        self.origins.values().map(|packets| packets.streams.len()).sum()
    }

    pub(super) fn has_moved(&self) -> bool {
        self.origins.values().any(|packets| packets.moved)
    }

    pub(super) fn checkpoint(&mut self) -> Checkpoint {
        let origins = self.origins.values_mut().filter_map(|packets| {
            std::mem::take(&mut packets.moved).then(|| OriginCheckpoint {
                origin: packets.origin.clone(),
                next: packets.next,
                note: None,
                windows: Vec::new(),
            })
        });
        Checkpoint { origins: origins.collect(), closed: Vec::new() }
    }

    /// Decodes a packet.
    ///
    /// # Errors
    /// What is needed to decode it cannot be reached, or is damaged.
    pub(super) fn decode(&mut self, message: PacketMessage, now: Instant) -> Result<Decoded, DecodersError> {
        self.pass(message.origin, message.position);
        let open = self.open_streams();
        let Some(packets) = self.origins.get_mut(&message.origin) else { return Ok(Decoded::default()) };
        let packet = match Packet::from_bytes(&message.value) {
            Ok(packet) => packet,
            Err(error) => return Ok(packets.refuse(message, error.to_string(), 0)),
        };
        let header = &packet.header;
        let lost = header.valid_samples() * u64::from(header.channels);
        let stream = packets.streams.get(&message.stream);
        if stream.is_none() && open >= self.max_streams {
            let reason = format!(
                "stream '{}': {} streams are open already; raise window.max_streams",
                message.stream, self.max_streams
            );
            return Ok(packets.refuse(message, reason, lost));
        }
        let known = stream.and_then(|stream| stream.sources.get(&message.source)).copied();
        let mut continuity = known.unwrap_or_default();
        let step = continuity.step(header);
        let mut decoded = Decoded { repeated_frames: step.repeated_frames.into(), ..Decoded::default() };
        if step.new_frames == 0 {
            return Ok(decoded);
        }
        let samples = match self.decoders.get(header.model) {
            Ok(decoder) => decoder.decode(&packet).map_err(|error| error.to_string()),
            Err(DecodersError::Unknown(reason)) => Err(reason),
            Err(error) => return Err(error),
        };
        let samples = match samples {
            Ok(samples) => samples,
            Err(reason) => return Ok(packets.refuse(message, reason, lost)),
        };
        let new = samples.get(step.repeated_samples(header)..).unwrap_or_default();
        let index = stream.map_or(self.announced, |stream| stream.index);
        let frames = DecodedFrames {
            stream: index,
            key: &message.stream,
            header,
            source: Arc::clone(&message.source),
            arrival_ns: message.arrival_ns,
            left_out: step.repeated_frames,
            samples: new,
        };
        let messages: Result<Vec<_>, _> =
            self.encodings.iter().map(|encoding| frames.messages(*encoding)).collect();
        decoded.messages = match messages {
            Ok(messages) => messages.into_iter().flatten().collect(),
            Err(error) => return Ok(packets.refuse(message, error.to_string(), lost)),
        };
        decoded.samples = new.len() as u64;
        if stream.is_none() {
            self.announced += 1;
            let info = Arc::new(stream_info(message.stream.clone(), header));
            decoded.stream = Some((index, info, packets.origin.clone()));
        }
        continuity.advance(header);
        packets.note(message, index, continuity, now);
        Ok(decoded)
    }
}

impl OriginPackets {
    fn note(&mut self, message: PacketMessage, index: StreamIndex, continuity: Continuity, now: Instant) {
        let new = || PacketStream { index, touched: now, sources: HashMap::new() };
        let stream = self.streams.entry(message.stream).or_insert_with(new);
        stream.touched = now;
        if stream.sources.len() >= MAX_SOURCES && !stream.sources.contains_key(&message.source) {
            stream.sources.clear();
        }
        stream.sources.insert(message.source, continuity);
    }

    fn refuse(&self, message: PacketMessage, reason: String, samples: u64) -> Decoded {
        let letter = DeadLetter {
            stage: Stage::Source,
            origin: self.origin.to_string(),
            position: message.position,
            reason,
            samples,
            message: Some(Arc::new(Message { key: message.key, value: message.value })),
        };
        Decoded { letter: Some(letter), ..Decoded::default() }
    }
}

/// What a packet says of its stream.
fn stream_info(key: StreamKey, header: &Header) -> StreamInfo {
    StreamInfo {
        key,
        sample_rate_hz: header.sample_rate_hz,
        sample_type: header.sample_type,
        stored_bits: header.sample_type.bits(),
        channels: (0..header.channels).map(|_| ChannelInfo::unscaled("")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelId, ModelLibrary};
    use crate::packet::ChannelSide;
    use crate::signal::SampleType;

    fn stage(max_streams: usize) -> DecodeStage {
        let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let decoders = Decoders::new(ModelLibrary::new(vec![models]), None);
        let mut stage = DecodeStage::new(decoders, vec![KafkaEncoding::Raw], max_streams);
        let origin = Origin::Partition { topic: "packets".into(), partition: 2 };
        let opened =
            OpenOrigin { index: 5, origin, next: 10, note: None, windows: Vec::new(), after_gap: false };
        stage.open(opened);
        stage
    }

    /// Frames of one value each: their number.
    fn packet(first_frame: u64, frames: u32) -> Packet {
        let side = (first_frame..).take(frames as usize).map(|number| ChannelSide::Constant(number as f64));
        Packet {
            header: Header {
                model: "95ed5a144c6fa34d".parse().unwrap(),
                key_packet: true,
                after_gap: false,
                sample_type: SampleType::I16,
                channels: 1,
                sample_rate_hz: 512.0,
                frame_size: 512,
                first_frame,
                time_ns: Some(0),
                frames,
                last_valid: 512,
            },
            side: side.collect(),
            layers: Vec::new(),
        }
    }

    fn message(offset: i64, key: &str, source: &str, value: Vec<u8>) -> PacketMessage {
        PacketMessage {
            origin: 5,
            position: Position::Offset(offset),
            key: Some(key.as_bytes().to_vec()),
            stream: StreamKey::new(key),
            source: source.into(),
            value,
            arrival_ns: None,
        }
    }

    fn decode(stage: &mut DecodeStage, offset: i64, key: &str, source: &str, packet: &Packet) -> Decoded {
        stage.decode(message(offset, key, source, packet.to_bytes().unwrap()), Instant::now()).unwrap()
    }

    /// Number and frames of each message.
    fn frames(decoded: &Decoded) -> Vec<(u64, u32)> {
        decoded.messages.iter().map(|message| (message.first_frame, message.frames)).collect()
    }

    #[test]
    fn each_frame_of_a_source_leaves_once() {
        let mut stage = stage(10);
        let first = decode(&mut stage, 10, "a", "in/0", &packet(7, 2));
        assert_eq!((frames(&first), first.samples, first.repeated_frames), (vec![(7, 2)], 1024, 0));
        assert!(first.stream.is_some());
        let again = decode(&mut stage, 11, "a", "in/0", &packet(7, 2));
        assert_eq!((frames(&again), again.repeated_frames), (vec![], 2));
        let overlap = decode(&mut stage, 12, "a", "in/0", &packet(8, 2));
        assert_eq!((frames(&overlap), overlap.repeated_frames), (vec![(9, 1)], 1));
        assert_eq!(overlap.messages[0].value, [9, 0].repeat(512));
        assert_eq!(overlap.messages[0].time_ns, Some(1_000_000_000));
        let other = decode(&mut stage, 13, "a", "in/1", &packet(0, 1));
        assert_eq!(frames(&other), [(0, 1)]);
        assert!(overlap.stream.is_none() && other.stream.is_none());
        let other = decode(&mut stage, 14, "b", "in/0", &packet(0, 1));
        assert_eq!((frames(&other), other.messages[0].stream), (vec![(0, 1)], 1));
    }

    #[test]
    fn what_cannot_be_decoded_is_a_dead_letter_with_its_place() {
        let mut stage = stage(1);
        let damaged = stage.decode(message(10, "a", "", b"garbage".to_vec()), Instant::now()).unwrap();
        let letter = damaged.letter.unwrap();
        assert_eq!((letter.origin.as_str(), letter.position), ("packets/2", Position::Offset(10)));
        assert_eq!(letter.message.unwrap().value, b"garbage");
        let mut unknown = packet(0, 1);
        unknown.header.model = ModelId([1; 8]);
        let letter = decode(&mut stage, 11, "a", "", &unknown).letter.unwrap();
        assert!(letter.reason.contains("0101010101010101") && letter.samples == 512, "{letter:?}");
        let mut misfit = packet(0, 1);
        misfit.header.frame_size = 100;
        misfit.header.last_valid = 100;
        let letter = decode(&mut stage, 12, "a", "", &misfit).letter.unwrap();
        assert!(letter.reason.contains("does not fit model"), "{letter:?}");
        assert_eq!(frames(&decode(&mut stage, 13, "a", "", &packet(0, 1))), [(0, 1)]);
        let letter = decode(&mut stage, 14, "b", "", &packet(0, 1)).letter.unwrap();
        assert!(letter.reason.contains("max_streams"), "{letter:?}");
        assert_eq!(frames(&decode(&mut stage, 15, "a", "", &packet(1, 1))), [(1, 1)]);
    }

    #[test]
    fn a_checkpoint_holds_the_next_offset_of_what_has_moved() {
        let mut stage = stage(10);
        assert!(!stage.has_moved());
        decode(&mut stage, 12, "a", "", &packet(0, 1));
        stage.pass(5, Position::Offset(13));
        let checkpoint = stage.checkpoint();
        let places: Vec<_> =
            checkpoint.origins.iter().map(|origin| (origin.origin.to_string(), origin.next)).collect();
        assert_eq!(places, [("packets/2".to_owned(), 14)]);
        assert!(!stage.has_moved());
        assert_eq!(stage.close(&[5]), [0]);
    }

    #[test]
    fn streams_of_which_nothing_is_heard_are_forgotten() {
        let mut stage = stage(10);
        decode(&mut stage, 10, "a", "", &packet(5, 1));
        assert_eq!(stage.forget_idle(Instant::now()), [0]);
        let again = decode(&mut stage, 11, "a", "", &packet(5, 1));
        assert_eq!((frames(&again), again.messages[0].stream), (vec![(5, 1)], 1));
    }
}
