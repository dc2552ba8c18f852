//! Finding out where a file that was not finished can be continued.

use std::collections::HashMap;
use std::io::Read;

use super::FileParts;
use super::index::{IndexEntry, footer};
use super::reader::{Event, Reader};
use crate::packet::{ErrorKind, Header, PacketError, PacketParts};
use crate::signal::StreamInfo;

/// What a file holds, so that a [`Writer`](super::Writer) can go on with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovered {
    /// Where the last whole record ends: cut the file here. Index blocks stay, a footer goes.
    pub end: u64,
    /// The streams in the order in which the file names them.
    pub streams: Vec<RecoveredStream>,
    /// Where the bytes before `end` went.
    pub parts: FileParts,
    /// True if the file was finished: it has its footer.
    pub closed: bool,
    /// The number of the next stream.
    pub(super) next_stream: u32,
    /// Packets after the last index block.
    pub(super) unindexed: Vec<IndexEntry>,
    pub(super) last_block: Option<u64>,
}

/// A stream of a file that is to be continued.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredStream {
    /// Its number in the file.
    pub number: u32,
    /// What it is.
    pub info: StreamInfo,
    /// Number of its first frame; that of `next_frame` where it has none.
    pub first_frame: u64,
    /// Number of the frame after its last packet.
    pub next_frame: u64,
}

/// Reads a file to its end and says where it can be continued; an empty one at its start.
///
/// # Errors
/// As for [`Reader::next_event`].
pub fn recover<R: Read>(input: R) -> Result<Recovered, PacketError> {
    let mut reader = Reader::new(input);
    let mut packets = PacketParts::default();
    let mut streams: Vec<RecoveredStream> = Vec::new();
    let mut places: HashMap<u32, usize> = HashMap::new();
    let mut unindexed: Vec<IndexEntry> = Vec::new();
    let mut indexed = None;
    let closed = loop {
        match reader.next_event() {
            Ok(Event::Stream { number, info, .. }) => {
                places.insert(number, streams.len());
                streams.push(RecoveredStream { number, info, first_frame: 0, next_frame: 0 });
            }
            Ok(Event::Packet { stream, packet, offset, parts }) => {
                let Header { first_frame, frames, .. } = packet.header;
                packets += parts;
                if reader.last_block != indexed {
                    indexed = reader.last_block;
                    unindexed.clear();
                }
                unindexed.push(IndexEntry { stream, first_frame, frames, offset });
                let known = places.get(&stream).and_then(|place| streams.get_mut(*place));
                if let Some(known) = known {
                    let first = if known.next_frame == 0 { first_frame } else { known.first_frame };
                    known.first_frame = first.min(first_frame);
                    known.next_frame = known.next_frame.max(first_frame + u64::from(frames));
                }
            }
            Ok(Event::Damage { .. }) => {}
            Ok(Event::End { closed, .. }) => break closed,
            Err(error) if error.kind() == ErrorKind::InsufficientData => break false,
            Err(error) => return Err(error),
        }
    };
    unindexed.retain(|entry| Some(entry.offset) > reader.last_block);
    let mut container = reader.container();
    if closed {
        container.index -= footer(0)?.len() as u64;
    }
    Ok(Recovered {
        end: reader.whole_end,
        closed,
        next_stream: streams.iter().map(|stream| stream.number.saturating_add(1)).max().unwrap_or(0),
        streams,
        parts: FileParts { packets, container },
        unindexed,
        last_block: reader.last_block,
    })
}
