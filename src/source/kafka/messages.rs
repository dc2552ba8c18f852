//! Messages become events.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::message::{Headers, Timestamp};

use super::KafkaSource;
use crate::signal::{Chunk, DeadLetter, Message, OriginIndex, Position, Stage, StreamIndex, StreamKey};
use crate::source::{PacketMessage, SourceEvent};

/// Longer keys are taken for garbage: a key is held in memory as long as its partition is read.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

/// The header of a packet that says where its frames come from.
const PACKET_SOURCE_HEADER: &str = "rivulet-source";

/// A partition that is being read.
pub(super) struct Partition {
    pub(super) index: OriginIndex,
    pub(super) next: i64,
    /// The streams so far, by the bytes of their keys.
    streams: HashMap<Vec<u8>, StreamIndex>,
    /// The stream of messages without a key.
    keyless: Option<StreamIndex>,
    count: StreamIndex,
}

impl Partition {
    pub(super) fn new(index: OriginIndex, next: i64) -> Self {
        Self { index, next, streams: HashMap::new(), keyless: None, count: 0 }
    }

    /// The index of a stream, and whether it is a new one; none for a new one where there is no room.
    fn stream(&mut self, key: Option<&[u8]>, has_room: bool) -> Option<(StreamIndex, bool)> {
        let known = match key {
            Some(key) => self.streams.get(key).copied(),
            None => self.keyless,
        };
        if let Some(stream) = known {
            return Some((stream, false));
        }
        if !has_room {
            return None;
        }
        let stream = self.count;
        self.count += 1;
        match key {
            Some(key) => {
                self.streams.insert(key.to_vec(), stream);
            }
            None => self.keyless = Some(stream),
        }
        Some((stream, true))
    }
}

impl KafkaSource {
    /// Turns a message into events.
    pub(super) fn read(&mut self, message: &impl rdkafka::Message) {
        let (topic, number, offset) = (message.topic(), message.partition(), message.offset());
        let place = match self.topics.get(topic) {
            Some(topic) => (Arc::clone(topic), number),
            None => return,
        };
        let streams: usize = self.partitions.values().map(|partition| partition.count).sum();
        let Some(partition) = self.partitions.get_mut(&place) else { return };
        // After an assignment or a seek older messages may still come.
        if offset < partition.next {
            return;
        }
        self.telemetry.messages_in(1);
        self.telemetry.bytes(Stage::Source, message.payload().map_or(0, <[u8]>::len) as u64);
        partition.next = offset.saturating_add(1);
        let origin = partition.index;
        let position = Position::Offset(offset);
        let header = self.key_header.as_deref().map(|wanted| {
            let headers = message.headers()?;
            headers.iter().find(|header| header.key == wanted).and_then(|header| header.value)
        });
        let key = header.unwrap_or_else(|| message.key());
        let payload = message.payload().unwrap_or_default();

        let mut records = std::mem::take(&mut self.records);
        records.clear();
        let refused = match (key, &mut self.decoder) {
            (Some(key), _) if key.len() > MAX_KEY_BYTES => {
                Some(format!("its key has {} bytes, {MAX_KEY_BYTES} are possible", key.len()))
            }
            (_, Some(decoder)) => decoder.decode(payload, &mut records).err().map(|error| error.to_string()),
            (_, None) => {
                self.records = records;
                self.ready.push_back(SourceEvent::Packet(packet(message, origin, key)));
                return;
            }
        };
        let letter = |reason: String, samples: usize| DeadLetter {
            stage: Stage::Source,
            origin: format!("{topic}/{number}"),
            position,
            reason,
            samples: samples as u64,
            message: Some(Arc::new(Message {
                key: message.key().map(<[u8]>::to_vec),
                value: payload.to_vec(),
            })),
        };
        if let Some(reason) = refused {
            self.ready.push_back(SourceEvent::DeadLetter { origin, letter: letter(reason, 0) });
        } else if records.is_empty() {
            self.ready.push_back(SourceEvent::Passed { origin, position });
        }
        let time_ns = time_ns(message);
        for record in records.drain(..) {
            let key = record.key.as_ref().map(String::as_bytes).or(key);
            let has_room = streams < self.max_streams && key.is_none_or(|key| key.len() <= MAX_KEY_BYTES);
            let Some((stream, new)) = partition.stream(key, has_room) else {
                let reason = format!(
                    "its stream does not fit: there are {streams} streams already (window.max_streams is {}), or its \
                     key has more than {MAX_KEY_BYTES} bytes",
                    self.max_streams
                );
                let letter = letter(reason, record.samples.len());
                self.ready.push_back(SourceEvent::DeadLetter { origin, letter });
                continue;
            };
            if new && let Some(decoder) = &self.decoder {
                let key = key.map_or_else(|| format!("{topic}/{number}"), text_of);
                let info = decoder.options().stream_info(StreamKey::new(key));
                self.ready.push_back(SourceEvent::Stream { origin, info });
            }
            self.ready.push_back(SourceEvent::Chunk(Chunk {
                origin,
                stream,
                position,
                arrival_ns: time_ns,
                time_ns: record.time_ns.or(time_ns),
                after_gap: false,
                samples: record.samples,
            }));
        }
        self.records = records;
    }
}

/// A message that holds a packet; `key` is that of its stream.
fn packet(message: &impl rdkafka::Message, origin: OriginIndex, key: Option<&[u8]>) -> PacketMessage {
    let stream = key.map_or_else(|| format!("{}/{}", message.topic(), message.partition()), text_of);
    let source = packet_source(message).filter(|source| source.len() <= MAX_KEY_BYTES);
    PacketMessage {
        origin,
        position: Position::Offset(message.offset()),
        key: message.key().map(<[u8]>::to_vec),
        stream: StreamKey::new(stream),
        source: String::from_utf8_lossy(source.unwrap_or_default()).into(),
        value: message.payload().unwrap_or_default().to_vec(),
        arrival_ns: time_ns(message),
    }
}

/// Where the frames of a packet come from, where its message says so.
pub(crate) fn packet_source(message: &impl rdkafka::Message) -> Option<&[u8]> {
    let headers = message.headers()?;
    headers.iter().find(|header| header.key == PACKET_SOURCE_HEADER).and_then(|header| header.value)
}

/// A message's time, in nanoseconds since the Unix epoch.
fn time_ns(message: &impl rdkafka::Message) -> Option<i64> {
    match message.timestamp() {
        Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => Some(ms.saturating_mul(1_000_000)),
        Timestamp::NotAvailable => None,
    }
}

/// A key as text; one that is none in hexadecimal.
pub(crate) fn text_of(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.is_empty() => text.to_owned(),
        _ => key.iter().fold("hex:".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_own_text() {
        assert_eq!(text_of(b"device-7"), "device-7");
        assert_eq!(text_of(&[0xff, 0x00]), "hex:ff00");
        assert_eq!(text_of(b""), "hex:");
    }

    #[test]
    fn a_stream_is_found_by_its_key() {
        let mut partition = Partition::new(3, 0);
        assert_eq!(partition.stream(Some(b"a"), true), Some((0, true)));
        assert_eq!(partition.stream(None, true), Some((1, true)));
        assert_eq!(partition.stream(Some(b""), true), Some((2, true)));
        assert_eq!(partition.stream(Some(b"b"), false), None);
        assert_eq!(partition.stream(Some(b"a"), false), Some((0, false)));
        assert_eq!(partition.stream(None, false), Some((1, false)));
        assert_eq!(partition.stream(Some(b"b"), true), Some((3, true)));
    }
}
