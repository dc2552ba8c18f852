//! Reading a part of a file by its index.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Seek};

use super::index::{Index, IndexEntry, read_whole};
use super::reader::{Event, described_by};
use super::record::kind;
use super::seek::Timing;
use super::stream;
use crate::packet::wire::checked;
use crate::packet::{ErrorKind, Packet, PacketError};
use crate::signal::StreamInfo;

/// A packet as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it is.
    pub entry: IndexEntry,
    /// When it begins.
    pub timing: Timing,
}

/// Reads packets of a closed file that are wanted, in the order in which they stand there, and nothing of the others
/// but their place in the index. Damage that no wanted packet meets is not seen.
#[derive(Debug)]
pub struct Part<R> {
    file: R,
    index: Index,
    /// The streams, by their numbers, as far as they were read.
    streams: HashMap<u32, StreamInfo>,
    /// Blocks with times outside are passed over.
    range_ms: Option<(i64, i64)>,
    next_block: usize,
    placed: VecDeque<Placed>,
    queue: VecDeque<Event>,
    packet_bytes: Vec<u8>,
}

impl<R: Read + Seek> Part<R> {
    /// Reads where the file's packets and streams are; none where it does not say: it was not closed, or written by
    /// a program that did not know how.
    ///
    /// # Errors
    /// The file cannot be read. One whose index is damaged does not say either.
    pub fn open(mut file: R) -> Result<Option<Self>, PacketError> {
        let index = match Index::open(&mut file) {
            Ok(index) if index.can_seek() => index,
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(_) => return Ok(None),
        };
        let mut part = Self {
            file,
            index,
            streams: HashMap::new(),
            range_ms: None,
            next_block: 0,
            placed: VecDeque::new(),
            queue: VecDeque::new(),
            packet_bytes: Vec::new(),
        };
        for offset in part.index.streams().to_vec() {
            let Ok((number, info)) = part.read_stream(offset) else { return Ok(None) };
            part.queue.push_back(Event::Stream { number, info: info.clone(), recovered: false });
            part.streams.insert(number, info);
        }
        Ok(Some(part))
    }

    fn read_stream(&mut self, offset: u64) -> Result<(u32, StreamInfo), PacketError> {
        let (head, bytes) = read_whole(&mut self.file, offset, kind::STREAM)?;
        let content = checked(bytes.get(head.head_bytes..).unwrap_or_default(), "stream record")?;
        Ok((head.number, stream::decode(content)?))
    }

    /// Passes over blocks whose packets all have times, and none within these milliseconds since the Unix epoch.
    pub fn within(&mut self, from_ms: i64, to_ms: i64) {
        self.range_ms = Some((from_ms, to_ms));
    }

    /// The streams of the file, by their numbers.
    pub fn streams(&self) -> &HashMap<u32, StreamInfo> {
        &self.streams
    }

    /// The next packet in the index, whose packet is not read.
    ///
    /// # Errors
    /// The index is damaged.
    pub fn next_placed(&mut self) -> Result<Option<Placed>, PacketError> {
        while self.placed.is_empty() {
            let block = self.next_block;
            let Some(place) = self.index.places().get(block) else { return Ok(None) };
            self.next_block += 1;
            let outside = match (&place.seek, self.range_ms) {
                (Some((_, summary)), Some((from, to))) => {
                    let (first, end) = summary.range_ms;
                    summary.timed == summary.packets && (end < from || first > to)
                }
                _ => false,
            };
            if outside {
                continue;
            }
            let entries = self.index.read(&mut self.file, block)?;
            let timings = self.index.timings(&mut self.file, block, &entries)?.unwrap_or_default();
            self.placed
                .extend(entries.into_iter().zip(timings).map(|(entry, timing)| Placed { entry, timing }));
        }
        Ok(self.placed.pop_front())
    }

    /// The next event: first all streams, then the packets for which `wanted` is true.
    ///
    /// # Errors
    /// The file cannot be read, or its index is damaged.
    pub fn next_event(&mut self, wanted: &mut dyn FnMut(&Placed) -> bool) -> Result<Event, PacketError> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            let Some(placed) = self.next_placed()? else {
                return Ok(Event::End { torn_bytes: 0, closed: true });
            };
            if wanted(&placed) {
                self.read_packet(placed.entry)?;
            }
        }
    }

    /// The packet that the index has at this place.
    ///
    /// # Errors
    /// It is damaged, or cannot be read.
    pub fn packet(&mut self, entry: &IndexEntry) -> Result<Packet, PacketError> {
        let (head, bytes) = read_whole(&mut self.file, entry.offset, kind::PACKET)?;
        Packet::from_bytes(bytes.get(head.head_bytes..).unwrap_or_default())
    }

    fn read_packet(&mut self, entry: IndexEntry) -> Result<(), PacketError> {
        let IndexEntry { stream, offset, .. } = entry;
        let read = read_whole(&mut self.file, offset, kind::PACKET);
        let packet = read.and_then(|(head, bytes)| {
            let payload = bytes.get(head.head_bytes..).unwrap_or_default();
            self.packet_bytes.clear();
            self.packet_bytes.extend_from_slice(payload);
            let (packet, parts) = Packet::from_bytes_and_parts(payload)?;
            let same = head.number == stream && packet.header.first_frame == entry.first_frame;
            let fits = self
                .streams
                .get(&stream)
                .is_none_or(|info| info.channels.len() == usize::from(packet.header.channels));
            match same && fits {
                true => Ok((packet, parts)),
                false => Err(PacketError::corruption("a packet other than the index says")),
            }
        });
        match packet {
            Ok((packet, parts)) => {
                if let Entry::Vacant(unknown) = self.streams.entry(stream) {
                    let info = unknown.insert(described_by(stream, &packet.header)).clone();
                    self.queue.push_back(Event::Stream { number: stream, info, recovered: true });
                }
                self.queue.push_back(Event::Packet { stream, packet, offset, parts });
            }
            Err(error) if error.kind() == ErrorKind::Io => return Err(error),
            Err(error) => {
                self.queue.push_back(Event::Damage { offset, bytes: self.packet_bytes.len() as u64, error });
            }
        }
        Ok(())
    }

    /// The packet of the last [`Event::Packet`], as it stands in the file.
    pub fn packet_bytes(&self) -> &[u8] {
        &self.packet_bytes
    }
}
