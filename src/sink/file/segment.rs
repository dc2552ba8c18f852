//! A segment that grows.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use super::disk::{create_error, lock, partial_of, write_error};
use crate::packet::{PacketError, rvl};
use crate::signal::{StreamIndex, StreamInfo};
use crate::sink::SinkError;

/// A segment that grows, under its partial name.
pub(super) struct Segment {
    /// The name that it will have.
    pub(super) path: PathBuf,
    partial: PathBuf,
    /// None once it is closed.
    writer: Option<rvl::Writer<BufWriter<File>>>,
    /// The numbers of its streams.
    numbers: HashMap<StreamIndex, u32>,
    pub(super) packets: u64,
    /// When it was opened, in nanoseconds since the Unix epoch.
    pub(super) opened_ns: i64,
    /// Time of its first frame.
    pub(super) start_ns: i64,
    /// The turn in which it was written last.
    pub(super) written: u64,
    /// The checkpoint behind its last packet.
    pub(super) checkpoint: u64,
    /// True if it has what no disk has for sure.
    dirty: bool,
    /// True if it is worth nothing before it is closed.
    discarded: bool,
}

impl Segment {
    /// Creates the file for `path`; none where there is one of that name already.
    pub(super) fn create(
        path: PathBuf,
        times_ns: (i64, i64),
        buffer_bytes: usize,
        discarded: bool,
    ) -> Result<Option<Self>, SinkError> {
        let partial = partial_of(&path);
        if path.symlink_metadata().is_ok() {
            return Ok(None);
        }
        let file = match OpenOptions::new().write(true).create_new(true).open(&partial) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(error) => return Err(create_error(&partial, error)),
        };
        lock(&file, &partial)?;
        let writer = rvl::Writer::new(BufWriter::with_capacity(buffer_bytes, file));
        let writer = writer.map_err(|source| SinkError::Packets { path: partial.clone(), source })?;
        let (opened_ns, start_ns) = times_ns;
        Ok(Some(Self {
            path,
            partial,
            writer: Some(writer),
            numbers: HashMap::new(),
            packets: 0,
            opened_ns,
            start_ns,
            written: 0,
            checkpoint: 0,
            dirty: true,
            discarded,
        }))
    }

    /// Bytes of the file so far.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, rvl::Writer::bytes_written)
    }

    /// Adds a packet of a stream, which is described before its first one.
    pub(super) fn write(
        &mut self,
        stream: StreamIndex,
        info: &StreamInfo,
        bytes: &[u8],
    ) -> Result<(), SinkError> {
        let error = |source: PacketError| SinkError::Packets { path: self.partial.clone(), source };
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let number = match self.numbers.get(&stream) {
            Some(number) => *number,
            None => {
                let number = writer.add_stream(info).map_err(error)?;
                self.numbers.insert(stream, number);
                number
            }
        };
        writer.write_packet(number, bytes).map_err(error)?;
        self.packets += 1;
        self.dirty = true;
        Ok(())
    }

    /// Hands what was written to the system, or forces it to disk.
    pub(super) fn flush(&mut self, to_disk: bool) -> Result<(), SinkError> {
        let Some(writer) = self.writer.as_mut().filter(|_| self.dirty) else { return Ok(()) };
        let output = writer.get_mut();
        let synced =
            output.flush().and_then(|()| if to_disk { output.get_ref().sync_data() } else { Ok(()) });
        synced.map_err(|error| write_error(&self.partial, error))?;
        self.dirty = false;
        Ok(())
    }

    /// Closes it with index and footer; returns its bytes.
    pub(super) fn close(mut self, to_disk: bool) -> Result<u64, SinkError> {
        let Some(writer) = self.writer.take() else { return Ok(0) };
        let finished = writer.finish();
        let (output, parts) =
            finished.map_err(|source| SinkError::Packets { path: self.partial.clone(), source })?;
        let file = output.into_inner().map_err(io::IntoInnerError::into_error);
        let synced = file.and_then(|file| if to_disk { file.sync_all() } else { Ok(()) });
        synced.map_err(|error| write_error(&self.partial, error))?;
        self.discarded = false;
        Ok(parts.total())
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if self.discarded {
            // Nothing to tell anyone here: the error that left the file in parts has been reported.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}
