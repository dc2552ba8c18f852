//! Reading an `.rvl` file.

use std::collections::{HashMap, VecDeque};
use std::io::Read;

use super::lookahead::Lookahead;
use super::record::{Head, Look, MARKER, MAX_HEAD_BYTES, MAX_PAYLOAD_BYTES, kind};
use super::{ContainerParts, FILE_HEADER_BYTES, MAGIC, RVL_VERSION, header_check, index, seek, stream};
use crate::packet::wire::checked;
use crate::packet::{Header, Packet, PacketError, PacketParts};
use crate::signal::{ChannelInfo, StreamInfo, StreamKey};

/// What an `.rvl` file has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A stream that was not known before.
    Stream {
        /// Its number in this file.
        number: u32,
        /// What it is.
        info: StreamInfo,
        /// True if its record was lost to damage: `info` is what its first packet says of itself, under an
        /// invented key.
        recovered: bool,
    },
    /// A whole packet of a stream that is known.
    Packet {
        /// Number of its stream.
        stream: u32,
        /// The packet.
        packet: Packet,
        /// Where its record starts in the file.
        offset: u64,
        /// Where its bytes go.
        parts: PacketParts,
    },
    /// Bytes that cannot be used.
    Damage {
        /// Where they start in the file.
        offset: u64,
        /// How many.
        bytes: u64,
        /// What is wrong with them.
        error: PacketError,
    },
    /// Nothing will come any more.
    End {
        /// Bytes of a last record that was not written whole.
        torn_bytes: u64,
        /// True if the last record is a footer: the writer finished the file.
        closed: bool,
    },
}

/// Reads an `.rvl` file from front to back in memory that does not grow with the number of packets.
///
/// Damage costs the record that it hits: the next one is found by its marker and its check. The work is linear
/// in the file's length, whatever its bytes are.
#[derive(Debug)]
pub struct Reader<R> {
    ahead: Lookahead<R>,
    place: Place,
    /// Where damage began that has not been reported yet.
    damage: Option<Damage>,
    queue: VecDeque<Event>,
    /// Channels of the streams that are known.
    streams: HashMap<u32, usize>,
    container: ContainerParts,
    /// Bytes summed up for records that turned out to be none.
    pub(super) wasted: u64,
    pub(super) last_block: Option<u64>,
    /// The one before that.
    pub(super) block_before: Option<u64>,
    /// Where the last stream record is.
    pub(super) last_stream: u64,
    /// Bytes of the last packet.
    packet_bytes: Vec<u8>,
    /// Where the last record ends that is whole and no footer.
    pub(super) whole_end: u64,
    /// True if the last such record is an index block that has no seek record yet.
    pub(super) awaits_seek: bool,
    closed: bool,
}

#[derive(Debug, PartialEq)]
enum Place {
    Start,
    /// Among the records; `seen` once one was whole.
    Records {
        seen: bool,
    },
    End(Event),
}

#[derive(Debug)]
struct Damage {
    offset: u64,
    error: PacketError,
    /// True if it starts with the head of a record that the file's end cuts.
    torn: bool,
}

impl<R: Read> Reader<R> {
    /// Bytes that may be wasted for each byte of the file, so that a file made to annoy cannot cause more.
    pub(super) const PATIENCE: u64 = 4;

    /// A reader of what `input` holds; it needs no buffer of its own.
    pub fn new(input: R) -> Self {
        Self {
            ahead: Lookahead::new(input),
            place: Place::Start,
            damage: None,
            queue: VecDeque::new(),
            streams: HashMap::new(),
            container: ContainerParts::default(),
            wasted: 0,
            last_block: None,
            block_before: None,
            last_stream: 0,
            packet_bytes: Vec::new(),
            whole_end: 0,
            awaits_seek: false,
            closed: false,
        }
    }

    /// What is read.
    pub fn input(&self) -> &R {
        self.ahead.input()
    }

    /// Where the bytes read so far went that are neither packets nor damaged.
    pub fn container(&self) -> ContainerParts {
        self.container
    }

    /// The packet of the last [`Event::Packet`], as it stands in the file.
    pub fn packet_bytes(&self) -> &[u8] {
        &self.packet_bytes
    }

    /// The next event; after [`Event::End`] always that.
    ///
    /// # Errors
    /// The input cannot be read ([`Io`](crate::packet::ErrorKind::Io)), is no `.rvl` file
    /// ([`Corruption`](crate::packet::ErrorKind::Corruption),
    /// [`InsufficientData`](crate::packet::ErrorKind::InsufficientData)) or needs a newer reader
    /// ([`UnsupportedVersion`](crate::packet::ErrorKind::UnsupportedVersion)).
    pub fn next_event(&mut self) -> Result<Event, PacketError> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            match &self.place {
                Place::Start => self.read_file_header()?,
                Place::Records { .. } => self.read_record()?,
                Place::End(event) => return Ok(event.clone()),
            }
        }
    }

    fn read_file_header(&mut self) -> Result<(), PacketError> {
        self.ahead.fill(FILE_HEADER_BYTES)?;
        let bytes = self.ahead.bytes();
        if bytes.is_empty() {
            return Err(PacketError::insufficient("the file is empty"));
        }
        let Some(header) = bytes.first_chunk::<FILE_HEADER_BYTES>() else {
            if MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC) {
                self.place = Place::End(Event::End { torn_bytes: bytes.len() as u64, closed: false });
                return Ok(());
            }
            return Err(not_rvl());
        };
        let (content, check) = header.split_at(MAGIC.len() + 1);
        self.place = Place::Records { seen: false };
        if header.starts_with(&MAGIC) && check == header_check(content) {
            let version = header[MAGIC.len()];
            if version != RVL_VERSION {
                return Err(PacketError::unsupported(format!(
                    "the file needs version {version} of the .rvl format; this build reads version {RVL_VERSION}"
                )));
            }
            self.container.file_header = FILE_HEADER_BYTES as u64;
            self.ahead.advance(FILE_HEADER_BYTES);
            self.whole_end = self.ahead.offset();
        } else {
            self.note_damage(PacketError::corruption("the file's header is damaged"), false);
            self.skip_to_marker();
        }
        Ok(())
    }

    /// Reads one record, or steps over bytes that are none.
    fn read_record(&mut self) -> Result<(), PacketError> {
        self.ahead.fill(MAX_HEAD_BYTES)?;
        let bytes = self.ahead.bytes();
        if bytes.is_empty() {
            return self.end();
        }
        match Head::look(bytes) {
            Look::Head(head) => self.read_payload(head),
            Look::Cut => {
                self.note_damage(PacketError::corruption("no record starts here"), true);
                self.skip_to_marker();
                Ok(())
            }
            Look::Nothing => {
                self.note_damage(PacketError::corruption("no record starts here"), false);
                self.skip_to_marker();
                Ok(())
            }
        }
    }

    /// Reads the record whose head stands at the place, if it is one.
    fn read_payload(&mut self, head: Head) -> Result<(), PacketError> {
        let record_bytes = head.record_bytes();
        self.ahead.fill(record_bytes + MAX_HEAD_BYTES)?;
        let bytes = self.ahead.bytes();
        let Some(record) = bytes.get(..record_bytes) else {
            self.note_damage(PacketError::corruption("a record reaches beyond the file's end"), true);
            self.skip_to_marker();
            return Ok(());
        };
        let followed = !matches!(Head::look(bytes.get(record_bytes..).unwrap_or_default()), Look::Nothing);
        let payload = record.get(head.head_bytes..).unwrap_or_default();
        let patience = MAX_PAYLOAD_BYTES as u64 + self.ahead.offset().saturating_mul(Self::PATIENCE);
        if !followed && self.wasted + payload.len() as u64 > patience {
            self.note_damage(PacketError::corruption("no record starts here"), false);
            self.skip_to_marker();
            return Ok(());
        }
        match checked(payload, "record") {
            Ok(content) => {
                if head.kind == kind::PACKET {
                    self.packet_bytes.clear();
                    self.packet_bytes.extend_from_slice(payload);
                }
                let taken = take(head, payload, content, self.ahead.offset(), &self.streams);
                self.report_damage();
                self.accept(head, taken)
            }
            Err(error) if followed => {
                self.report_damage();
                self.note_damage(error, false);
                self.ahead.advance(record_bytes);
                self.report_damage();
                Ok(())
            }
            Err(error) => {
                self.wasted += payload.len() as u64;
                self.note_damage(error, false);
                self.skip_to_marker();
                Ok(())
            }
        }
    }

    /// Steps over a record whose bytes are as they were written.
    fn accept(&mut self, head: Head, taken: Result<Taken, PacketError>) -> Result<(), PacketError> {
        let offset = self.ahead.offset();
        let record_bytes = head.record_bytes() as u64;
        self.ahead.advance(head.record_bytes());
        self.place = Place::Records { seen: true };
        self.closed = head.kind == kind::FOOTER;
        if !self.closed {
            self.whole_end = self.ahead.offset();
            self.awaits_seek = head.kind == kind::INDEX;
        }
        match taken {
            Err(error) => self.queue.push_back(Event::Damage { offset, bytes: record_bytes, error }),
            Ok(Taken::Stream(info)) => {
                self.container.streams += record_bytes;
                self.last_stream = offset;
                self.add_stream(head.number, info, false);
            }
            Ok(Taken::Packet(packet, parts)) => {
                self.container.record_heads += head.head_bytes as u64;
                if !self.streams.contains_key(&head.number) {
                    self.add_stream(head.number, described_by(head.number, &packet.header), true);
                }
                self.queue.push_back(Event::Packet { stream: head.number, packet, offset, parts });
            }
            Ok(Taken::Index(before)) => {
                self.container.index += record_bytes;
                (self.last_block, self.block_before) = (Some(offset), before);
            }
            Ok(Taken::Seek | Taken::Footer) => self.container.index += record_bytes,
            Ok(Taken::MaySkip) => self.container.unknown += record_bytes,
            Ok(Taken::MustKnow) => {
                return Err(PacketError::unsupported(format!(
                    "byte {offset}: records of kind {} need a newer version",
                    head.kind
                )));
            }
        }
        Ok(())
    }

    fn add_stream(&mut self, number: u32, info: StreamInfo, recovered: bool) {
        self.streams.insert(number, info.channels.len());
        self.queue.push_back(Event::Stream { number, info, recovered });
    }

    fn end(&mut self) -> Result<(), PacketError> {
        if self.place == (Place::Records { seen: false }) && self.container.file_header == 0 {
            return Err(not_rvl());
        }
        let torn = self.damage.take_if(|damage| damage.torn);
        let torn_bytes = torn.map_or(0, |damage| self.ahead.offset() - damage.offset);
        self.report_damage();
        self.place = Place::End(Event::End { torn_bytes, closed: self.closed && torn_bytes == 0 });
        Ok(())
    }

    fn note_damage(&mut self, error: PacketError, torn: bool) {
        let offset = self.ahead.offset();
        self.damage.get_or_insert(Damage { offset, error, torn });
    }

    /// Reports the damage before the place, if there is any.
    fn report_damage(&mut self) {
        if let Some(Damage { offset, error, .. }) = self.damage.take() {
            self.closed = false;
            let bytes = self.ahead.offset() - offset;
            self.queue.push_back(Event::Damage { offset, bytes, error });
        }
    }

    /// Steps to the next byte that could start a record.
    fn skip_to_marker(&mut self) {
        let mut bytes = self.ahead.bytes().iter().skip(1);
        let step = bytes.position(|&byte| byte == MARKER).map_or(self.ahead.bytes().len(), |at| at + 1);
        self.ahead.advance(step);
    }
}

/// What a whole record holds.
enum Taken {
    Stream(StreamInfo),
    Packet(Packet, PacketParts),
    /// With the place of the block before.
    Index(Option<u64>),
    Seek,
    Footer,
    MaySkip,
    MustKnow,
}

/// Reads a whole record at `offset`; `content` is its `payload` without the checksum.
fn take(
    head: Head,
    payload: &[u8],
    content: &[u8],
    offset: u64,
    streams: &HashMap<u32, usize>,
) -> Result<Taken, PacketError> {
    let channels = streams.get(&head.number);
    match head.kind {
        kind::STREAM if channels.is_some() => {
            Err(PacketError::corruption(format!("stream {} is announced a second time", head.number)))
        }
        kind::STREAM => stream::decode(content).map(Taken::Stream),
        kind::PACKET => {
            let (packet, parts) = Packet::from_bytes_and_parts(payload)?;
            match channels {
                Some(&channels) if channels != usize::from(packet.header.channels) => {
                    Err(PacketError::corruption(format!(
                        "packet of {} channels in stream {} of {channels}",
                        packet.header.channels, head.number
                    )))
                }
                _ => Ok(Taken::Packet(packet, parts)),
            }
        }
        kind::INDEX => {
            let block = index::decode(content)?;
            match block.before {
                Some(before) if before >= offset => {
                    Err(PacketError::corruption("index record: it points beyond itself"))
                }
                before => Ok(Taken::Index(before)),
            }
        }
        kind::SEEK => seek::decode_summary(content).map(|_| Taken::Seek),
        kind::FOOTER => index::decode_footer(content).map(|_| Taken::Footer),
        unknown if unknown & kind::MAY_SKIP != 0 => Ok(Taken::MaySkip),
        _ => Ok(Taken::MustKnow),
    }
}

/// What a packet says of its stream.
pub(super) fn described_by(number: u32, header: &Header) -> StreamInfo {
    StreamInfo {
        key: StreamKey::new(format!("stream-{number}")),
        sample_rate_hz: header.sample_rate_hz,
        sample_type: header.sample_type,
        stored_bits: header.sample_type.bits(),
        channels: (0..header.channels).map(|_| ChannelInfo::unscaled("")).collect(),
    }
}

fn not_rvl() -> PacketError {
    PacketError::corruption("this is not an .rvl file: it has neither the header of one nor any record")
}
