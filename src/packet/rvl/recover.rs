//! Finding out where a file that was not finished can be continued.

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
    let mut unindexed: Vec<IndexEntry> = Vec::new();
    let closed = loop {
        match reader.next_event() {
            Ok(Event::Stream { number, info, .. }) => {
                streams.push(RecoveredStream { number, info, next_frame: 0 });
            }
            Ok(Event::Packet { stream, packet, offset, parts }) => {
                let Header { first_frame, frames, .. } = packet.header;
                packets += parts;
                unindexed.retain(|entry| Some(entry.offset) > reader.last_block);
                unindexed.push(IndexEntry { stream, first_frame, frames, offset });
                if let Some(known) = streams.iter_mut().find(|known| known.number == stream) {
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
        next_stream: streams.iter().map(|stream| stream.number.saturating_add(1)).max().unwrap_or(0),
        streams,
        parts: FileParts { packets, container },
        unindexed,
        last_block: reader.last_block,
    })
}
