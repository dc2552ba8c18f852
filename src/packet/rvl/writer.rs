//! Writing an `.rvl` file.

use std::io::Write;

use super::index::{self, BLOCK_PACKETS};
use super::record::{self, kind};
use super::recover::Recovered;
use super::seek::{self, Written};
use super::{FILE_HEADER_BYTES, FileParts, file_header, stream};
use crate::packet::{Packet, PacketError};
use crate::signal::StreamInfo;

/// Writes an `.rvl` file from front to back.
///
/// Each record goes out in one call of `write_all`, so that what a crash tears is one record at most. A file
/// that was not [finished](Writer::finish) can be read all the same; it only has no index.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    written: u64,
    parts: FileParts,
    streams: u32,
    /// Packets that no index block holds yet.
    unindexed: Vec<Written>,
    /// Places of stream records that no seek record holds yet.
    unplaced: Vec<u64>,
    last_block: Option<u64>,
}

impl<W: Write> Writer<W> {
    /// Starts a file.
    ///
    /// # Errors
    /// Writing failed.
    pub fn new(output: W) -> Result<Self, PacketError> {
        let mut writer = Self {
            output,
            written: 0,
            parts: FileParts::default(),
            streams: 0,
            unindexed: Vec::new(),
            unplaced: Vec::new(),
            last_block: None,
        };
        writer.parts.container.file_header = FILE_HEADER_BYTES as u64;
        writer.put(&file_header())?;
        Ok(writer)
    }

    /// Goes on with a file that was cut to [`Recovered::end`]; `output` must stand there.
    ///
    /// # Errors
    /// Writing failed.
    pub fn resume(output: W, recovered: Recovered) -> Result<Self, PacketError> {
        if recovered.end == 0 {
            return Self::new(output);
        }
        Ok(Self {
            output,
            written: recovered.end,
            parts: recovered.parts,
            streams: recovered.next_stream,
            unindexed: recovered.unindexed,
            unplaced: recovered.unplaced,
            last_block: recovered.last_block,
        })
    }

    /// Announces a stream and gives its number in this file.
    ///
    /// # Errors
    /// The stream cannot be described, or writing failed.
    pub fn add_stream(&mut self, info: &StreamInfo) -> Result<u32, PacketError> {
        let number = self.streams;
        let next = number.checked_add(1);
        let next = next.ok_or_else(|| PacketError::invalid("a file cannot hold more streams"))?;
        let record = record::record(kind::STREAM, number, &stream::encode(info)?)?;
        let offset = self.written;
        self.put(&record)?;
        self.unplaced.push(offset);
        self.parts.container.streams += record.len() as u64;
        self.streams = next;
        Ok(number)
    }

    /// Adds the bytes of a packet of a stream that was announced.
    ///
    /// # Errors
    /// The bytes are no packet, the stream is unknown, or writing failed.
    pub fn write_packet(&mut self, stream: u32, bytes: &[u8]) -> Result<(), PacketError> {
        if stream >= self.streams {
            return Err(PacketError::invalid(format!(
                "packet of stream {stream}: {} streams were announced",
                self.streams
            )));
        }
        let (packet, parts) = Packet::from_bytes_and_parts(bytes)?;
        let record = record::record_of_checked(kind::PACKET, stream, bytes)?;
        let offset = self.written;
        self.put(&record)?;
        self.parts.packets += parts;
        self.parts.container.record_heads += (record.len() - bytes.len()) as u64;
        self.unindexed.push(Written::new(stream, offset, &packet.header));
        if self.unindexed.len() >= BLOCK_PACKETS {
            self.write_index_block()?;
        }
        Ok(())
    }

    /// Bytes of the file so far.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Where those bytes went; for a file that was damaged before it was resumed without the damaged ones.
    pub fn parts(&self) -> FileParts {
        self.parts
    }

    /// What the file is written to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.output
    }

    /// Writes index and footer, flushes, and gives back what the file was written to and where its bytes
    /// went.
    ///
    /// # Errors
    /// Writing failed.
    pub fn finish(mut self) -> Result<(W, FileParts), PacketError> {
        if !self.unindexed.is_empty() || !self.unplaced.is_empty() {
            self.write_index_block()?;
        }
        let footer = index::footer(self.last_block.unwrap_or(0))?;
        self.put(&footer)?;
        self.parts.container.index += footer.len() as u64;
        self.output.flush()?;
        Ok((self.output, self.parts))
    }

    fn write_index_block(&mut self) -> Result<(), PacketError> {
        let entries = self.unindexed.iter().map(|written| &written.entry);
        let record = record::record(kind::INDEX, 0, &index::encode(self.last_block, entries)?)?;
        let seek = record::record(kind::SEEK, 0, &seek::encode(&self.unplaced, &self.unindexed)?)?;
        self.last_block = Some(self.written);
        self.put(&record)?;
        self.put(&seek)?;
        self.parts.container.index += (record.len() + seek.len()) as u64;
        self.unindexed.clear();
        self.unplaced.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PacketError> {
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
