//! Finding out where a file that was not finished can be continued.

use std::collections::HashMap;
use std::io::Read;

use super::FileParts;
use super::index::footer;
use super::reader::{Event, Reader};
use super::seek::Written;
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
    pub(super) unindexed: Vec<Written>,
    /// Stream records after it.
    pub(super) unplaced: Vec<u64>,
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
    let mut unindexed: Vec<Written> = Vec::new();
    let mut unplaced = Vec::new();
    let mut indexed = None;
    let closed = loop {
        match reader.next_event() {
            Ok(Event::Stream { number, info, recovered }) => {
                if reader.last_block != indexed {
                    indexed = reader.last_block;
                    unindexed.clear();
                    unplaced.clear();
                }
                if !recovered {
                    unplaced.push(reader.last_stream);
                }
                places.insert(number, streams.len());
                streams.push(RecoveredStream { number, info, first_frame: 0, next_frame: 0 });
            }
            Ok(Event::Packet { stream, packet, offset, parts }) => {
                let Header { first_frame, frames, .. } = packet.header;
                packets += parts;
                if reader.last_block != indexed {
                    indexed = reader.last_block;
                    unindexed.clear();
                    unplaced.clear();
                }
                unindexed.push(Written::new(stream, offset, &packet.header));
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
    let mut container = reader.container();
    if closed {
        container.index -= footer(0)?.len() as u64;
    }
    let (mut end, mut last_block) = (reader.whole_end, reader.last_block);
    match last_block {
        // The block is written again, with the seek record that it lacks.
        Some(block) if reader.awaits_seek => {
            container.index -= end - block;
            (end, last_block) = (block, reader.block_before);
        }
        block if block != indexed => {
            unindexed.clear();
            unplaced.clear();
        }
        _ => {}
    }
    Ok(Recovered {
        end,
        closed,
        next_stream: streams.iter().map(|stream| stream.number.saturating_add(1)).max().unwrap_or(0),
        streams,
        parts: FileParts { packets, container },
        unindexed,
        unplaced,
        last_block,
    })
}
