//! The index: where the packets are.
//!
//! It is written in blocks while packets are written, each with the place of the one before, so that neither
//! writer nor file needs more memory for more packets. The footer says where the last block is.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use super::record::{self, Head, Look, MAX_HEAD_BYTES, kind};
use super::seek::{self, Summary, Timing};
use crate::packet::bits::{BitReader, BitWriter, unzigzag, zigzag};
use crate::packet::error::PacketError;
use crate::packet::fields::{Fields, put};
use crate::packet::wire::checked;

/// Packets in a block, at most, when this build writes it.
pub(super) const BLOCK_PACKETS: usize = 1024;
/// Bytes of a footer's payload without its checksum.
const FOOTER_PAYLOAD_BYTES: usize = 8;
/// Order of the code of distances between packets.
const DISTANCE_ORDER: u32 = 5;
/// An entry never takes less than this.
const MIN_ENTRY_BITS: usize = 3 + DISTANCE_ORDER as usize + 1;

/// Where a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Number of its stream.
    pub stream: u32,
    /// Number of its first frame.
    pub first_frame: u64,
    /// Number of its frames.
    pub frames: u32,
    /// Where its record starts in the file.
    pub offset: u64,
}

/// The index of a closed file: where its blocks are, and what they are about. It takes some 50 bytes for each block,
/// that is for 1024 packets, and 8 for each stream.
#[derive(Clone, Debug)]
pub struct Index {
    /// From the first to the last.
    blocks: Vec<BlockPlace>,
    /// Places of the stream records; complete where every block has its seek record.
    streams: Vec<u64>,
}

/// Where a block is, and what its seek record says.
#[derive(Clone, Debug)]
pub(super) struct BlockPlace {
    pub(super) offset: u64,
    /// Place of the seek record, and what it says, the streams left out.
    pub(super) seek: Option<(u64, Summary)>,
}

impl Index {
    /// Reads the index from the file's end, block by block.
    ///
    /// # Errors
    /// The file was not closed and so has no whole index
    /// ([`InsufficientData`](crate::packet::ErrorKind::InsufficientData)), or the index is damaged.
    pub fn open<R: Read + Seek>(file: &mut R) -> Result<Self, PacketError> {
        let footer_bytes = footer(0)?.len() as u64;
        let end = file.seek(SeekFrom::End(0))?;
        let footer_offset = end.checked_sub(footer_bytes);
        let footer_offset = footer_offset
            .ok_or_else(|| PacketError::insufficient("the file ends before its index: it was not closed"))?;
        let (payload, _) = read_record(file, footer_offset, kind::FOOTER)
            .map_err(|_| PacketError::insufficient("the file ends without a footer: it was not closed"))?;
        let mut next = decode_footer(&payload)?;
        let (mut blocks, mut below, mut streams) = (Vec::new(), footer_offset, Vec::new());
        while let Some(offset) = next {
            if offset >= below {
                return Err(PacketError::corruption(format!("index at byte {offset}: it points at itself")));
            }
            let (payload, behind) = read_record(file, offset, kind::INDEX)?;
            let before = Fields::new(&payload, "index record").take("place of the block before")?;
            let seek = match looks_like(file, behind, kind::SEEK)? {
                true => {
                    let (payload, _) = read_record(file, behind, kind::SEEK)?;
                    let mut summary = seek::decode_summary(&payload)?;
                    streams.extend(std::mem::take(&mut summary.streams).into_iter().rev());
                    Some((behind, summary))
                }
                false => None,
            };
            blocks.push(BlockPlace { offset, seek });
            below = offset;
            next = (before != 0).then_some(before);
        }
        blocks.reverse();
        streams.reverse();
        Ok(Self { blocks, streams })
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// True if every block says when its packets begin and where streams are described.
    pub fn can_seek(&self) -> bool {
        self.blocks.iter().all(|block| block.seek.is_some())
    }

    pub(super) fn places(&self) -> &[BlockPlace] {
        &self.blocks
    }

    pub(super) fn streams(&self) -> &[u64] {
        &self.streams
    }

    /// The packets of a block, in the order in which they stand in the file; none beyond the last block.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn read<R: Read + Seek>(&self, file: &mut R, block: usize) -> Result<Vec<IndexEntry>, PacketError> {
        let Some(place) = self.blocks.get(block) else { return Ok(Vec::new()) };
        decode(&read_record(file, place.offset, kind::INDEX)?.0).map(|block| block.entries)
    }

    /// When the packets of a block begin, whose entries are given; none where it does not say.
    ///
    /// # Errors
    /// The seek record is damaged.
    pub fn timings<R: Read + Seek>(
        &self,
        file: &mut R,
        block: usize,
        entries: &[IndexEntry],
    ) -> Result<Option<Vec<Timing>>, PacketError> {
        let Some((offset, _)) = self.blocks.get(block).and_then(|block| block.seek.as_ref()) else {
            return Ok(None);
        };
        seek::decode(&read_record(file, *offset, kind::SEEK)?.0, entries).map(Some)
    }
}

/// True if the head of a record of this kind is at this place.
fn looks_like<R: Read + Seek>(file: &mut R, offset: u64, kind: u8) -> Result<bool, PacketError> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(matches!(Head::look(&bytes), Look::Head(head) if head.kind == kind))
}

/// The payload of the record of this kind at this place, without its checksum, and where the record ends.
fn read_record<R: Read + Seek>(file: &mut R, offset: u64, kind: u8) -> Result<(Vec<u8>, u64), PacketError> {
    let (head, bytes) = read_whole(file, offset, kind)?;
    let payload = checked(bytes.get(head.head_bytes..).unwrap_or_default(), "index record")?;
    Ok((payload.to_vec(), offset + head.record_bytes() as u64))
}

/// The record of this kind at this place; its payload is not checked.
pub(super) fn read_whole<R: Read + Seek>(
    file: &mut R,
    offset: u64,
    kind: u8,
) -> Result<(Head, Vec<u8>), PacketError> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    let head = match Head::look(&bytes) {
        Look::Head(head) if head.kind == kind => head,
        _ => {
            return Err(PacketError::corruption(format!("byte {offset}: no record of kind {kind} is there")));
        }
    };
    let rest = head.record_bytes().saturating_sub(bytes.len());
    file.by_ref().take(rest as u64).read_to_end(&mut bytes)?;
    if bytes.len() < head.record_bytes() {
        return Err(PacketError::insufficient(format!("record at byte {offset}: it is cut")));
    }
    bytes.truncate(head.record_bytes());
    Ok((head, bytes))
}

/// A part of the index.
#[derive(Debug, PartialEq)]
pub(super) struct Block {
    /// Where the block before it is.
    pub(super) before: Option<u64>,
    pub(super) entries: Vec<IndexEntry>,
}

/// The payload of an index record, without checksum.
pub(super) fn encode<'a>(
    before: Option<u64>,
    entries: impl ExactSizeIterator<Item = &'a IndexEntry> + Clone,
) -> Result<Vec<u8>, PacketError> {
    let mut out = Vec::new();
    put(&mut out, before.unwrap_or(0))?;
    put(&mut out, entries.len() as u64)?;
    let first_offset = entries.clone().next().map_or(0, |entry| entry.offset);
    put(&mut out, first_offset)?;
    let mut bits = BitWriter::after(out);
    let mut last = Expected { offset: first_offset, ..Expected::default() };
    for entry in entries {
        last.put(&mut bits, entry);
    }
    Ok(bits.finish())
}

/// The inverse of [`encode`].
pub(super) fn decode(payload: &[u8]) -> Result<Block, PacketError> {
    let mut fields = Fields::new(payload, "index record");
    let before: u64 = fields.take("place of the block before")?;
    let count: u64 = fields.take("number of packets")?;
    let first_offset: u64 = fields.take("place of the first packet")?;
    let impossible = || {
        PacketError::corruption(format!("index record: {count} packets cannot be in {} bytes", payload.len()))
    };
    let count = usize::try_from(count).map_err(|_| impossible())?;
    if count.saturating_mul(MIN_ENTRY_BITS) > fields.rest().len() * 8 {
        return Err(impossible());
    }
    let mut bits = BitReader::new(fields.rest());
    let mut last = Expected { offset: first_offset, ..Expected::default() };
    let entries: Option<Vec<_>> = (0..count).map(|_| last.take(&mut bits)).collect();
    match (entries, bits.finish()) {
        (Some(entries), Some(_)) => Ok(Block { before: (before != 0).then_some(before), entries }),
        _ => Err(PacketError::corruption("index record: its entries are impossible")),
    }
}

/// What is expected of the next entry.
#[derive(Debug, Default)]
struct Expected {
    stream: u32,
    frames: u32,
    offset: u64,
    distance: u64,
    /// The frame after the last packet of each stream in this block.
    next_frame: HashMap<u32, u64>,
}

impl Expected {
    fn put(&mut self, bits: &mut BitWriter, entry: &IndexEntry) {
        let distance = entry.offset.wrapping_sub(self.offset);
        let next_frame = self.next_frame.get(&entry.stream).copied().unwrap_or(0);
        bits.put_golomb(zigzag(i64::from(entry.stream) - i64::from(self.stream)), 0);
        bits.put_golomb(zigzag(i64::from(entry.frames) - i64::from(self.frames)), 0);
        bits.put_golomb(zigzag(entry.first_frame.wrapping_sub(next_frame) as i64), 0);
        bits.put_golomb(zigzag(distance.wrapping_sub(self.distance) as i64), DISTANCE_ORDER);
        self.learn(entry, distance);
    }

    fn take(&mut self, bits: &mut BitReader<'_>) -> Option<IndexEntry> {
        let mut difference = |order| bits.take_golomb(order).map(unzigzag);
        let stream = i64::from(self.stream).checked_add(difference(0)?)?;
        let stream = u32::try_from(stream).ok()?;
        let frames = i64::from(self.frames).checked_add(difference(0)?)?;
        let frames = u32::try_from(frames).ok()?;
        let next_frame = self.next_frame.get(&stream).copied().unwrap_or(0);
        let first_frame = next_frame.wrapping_add(difference(0)? as u64);
        let distance = self.distance.wrapping_add(difference(DISTANCE_ORDER)? as u64);
        let offset = self.offset.checked_add(distance)?;
        let entry = IndexEntry { stream, first_frame, frames, offset };
        self.learn(&entry, distance);
        Some(entry)
    }

    fn learn(&mut self, entry: &IndexEntry, distance: u64) {
        let after = entry.first_frame.wrapping_add(u64::from(entry.frames));
        self.next_frame.insert(entry.stream, after);
        (self.stream, self.frames, self.offset, self.distance) =
            (entry.stream, entry.frames, entry.offset, distance);
    }
}

/// The whole record that closes a file whose last index block is at `last_block`; 0 means there is none.
pub(super) fn footer(last_block: u64) -> Result<Vec<u8>, PacketError> {
    record::record(kind::FOOTER, 0, &last_block.to_le_bytes())
}

/// Where the footer says that the last index block is.
pub(super) fn decode_footer(payload: &[u8]) -> Result<Option<u64>, PacketError> {
    let Some(bytes) = payload.first_chunk::<FOOTER_PAYLOAD_BYTES>() else {
        return Err(PacketError::corruption(format!(
            "footer: {} bytes instead of {FOOTER_PAYLOAD_BYTES}",
            payload.len()
        )));
    };
    let offset = u64::from_le_bytes(*bytes);
    Ok((offset != 0).then_some(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Vec<IndexEntry>> {
        prop::collection::vec((0..4_u32, any::<u64>(), any::<u32>(), 0..1_u64 << 40), 0..50).prop_map(|raw| {
            let mut offset = 0;
            raw.into_iter()
                .map(|(stream, first_frame, frames, step)| {
                    offset += step;
                    IndexEntry { stream, first_frame, frames, offset }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn blocks_come_back(entries in entries(), before in prop::option::of(1..u64::MAX)) {
            let found = decode(&encode(before, entries.iter()).unwrap()).unwrap();
            prop_assert_eq!(found, Block { before, entries });
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(block) = decode(&bytes) {
                prop_assert!(block.entries.len() * MIN_ENTRY_BITS <= bytes.len() * 8);
            }
        }
    }

    #[test]
    fn packets_of_one_length_take_little_more_than_a_byte() {
        let entries: Vec<_> = (0..1000)
            .map(|i| IndexEntry {
                stream: 0,
                first_frame: i * 16,
                frames: 16,
                offset: 60 + i * (1085 + i % 7),
            })
            .collect();
        let bytes = encode(None, entries.iter()).unwrap();
        assert!(bytes.len() < 2000, "{}", bytes.len());
    }
}
