//! The sink of one file.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{BUFFER_BYTES, Partial, create_error, folder_of, lock, sync_folder, write_error};
use super::{ReadAgain, SyncPolicy, named};
use crate::packet::{PacketError, rvl};
use crate::signal::{Checkpoint, Origin, StreamIndex, StreamInfo, StreamKey};
use crate::sink::{Outgoing, Sink, SinkError, SinkReport};
use crate::telemetry::unix_ns;

/// How often what was written reaches the system where there are no checkpoints.
const FLUSH_EVERY_NS: i64 = 1_000_000_000;

/// Writes a `.rvl` file.
///
/// The file grows as `NAME.partial` and gets its name once it is whole, so that a reader never takes a part
/// for the whole and an older file stays until it can be replaced. After an error the part is removed; after a
/// crash it stays and can be read. What is not a regular file (a pipe, a device) is written in place.
///
/// A source without end has its file grow in place, and the next run goes on with it: what a crash tore is cut
/// off, and packets that are there already are not written again. Of packets that are there in part, all is
/// written; whoever reads the file leaves out what came before. Streams are named after their partitions, too. What a
/// port sends never comes again, and each run counts its frames from 0: it is a new stream of the same key.
pub struct FileSink {
    path: PathBuf,
    partial: Option<Partial>,
    writer: rvl::Writer<BufWriter<File>>,
    /// Each stream's number in the file.
    numbers: HashMap<StreamIndex, u32>,
    /// The number of each key in the file.
    keys: HashMap<StreamKey, u32>,
    /// The frames that the file lacks, by the streams' numbers in it.
    next_frames: HashMap<u32, u64>,
    sync: SyncPolicy,
    /// True if no checkpoint has what was written reach the system.
    flushes_in_time: bool,
    flushed_ns: i64,
}

impl FileSink {
    /// Creates the file and the folders above it.
    ///
    /// # Errors
    /// [`SinkError::Create`] where that is not possible.
    pub fn create(path: &Path, sync: SyncPolicy) -> Result<Self, SinkError> {
        if path.is_dir() {
            return Err(create_error(path, std::io::ErrorKind::IsADirectory.into()));
        }
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(|source| create_error(folder, source))?;
        let (partial, file) = Partial::create(path)?;
        let writer = rvl::Writer::new(BufWriter::with_capacity(BUFFER_BYTES, file))
            .map_err(|source| SinkError::Packets { path: path.to_owned(), source })?;
        Ok(Self { sync, ..Self::over(path, partial, writer) })
    }

    /// Goes on with the file, or creates it and the folders above it.
    ///
    /// # Errors
    /// [`SinkError::Create`] where that is not possible, [`SinkError::Packets`] where it is not a packet file,
    /// [`SinkError::Unavailable`] where another process writes it.
    pub fn resume(path: &Path, sync: SyncPolicy, read_again: ReadAgain) -> Result<Self, SinkError> {
        let is_new = !path.is_file();
        if is_new {
            std::fs::create_dir_all(folder_of(path)).map_err(|source| create_error(path, source))?;
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| create_error(path, source))?;
        lock(&file, path)?;
        let packets_error = |source| SinkError::Packets { path: path.to_owned(), source };
        let recovered = rvl::recover(BufReader::new(&file)).map_err(packets_error)?;
        file.set_len(recovered.end)
            .and_then(|()| file.seek(SeekFrom::Start(recovered.end)))
            .map_err(|source| write_error(path, source))?;
        if is_new && sync == SyncPolicy::Checkpoint {
            sync_folder(folder_of(path))?;
        }
        let streams = recovered.streams.clone();
        let writer = rvl::Writer::resume(BufWriter::with_capacity(BUFFER_BYTES, file), recovered)
            .map_err(packets_error)?;
        let mut sink = Self::over(path, None, writer);
        (sink.sync, sink.flushes_in_time) = (sync, read_again == ReadAgain::Nothing);
        sink.next_frames = streams.iter().map(|stream| (stream.number, stream.next_frame)).collect();
        sink.keys = streams.into_iter().map(|stream| (stream.info.key, stream.number)).collect();
        Ok(sink)
    }

    fn over(path: &Path, partial: Option<Partial>, writer: rvl::Writer<BufWriter<File>>) -> Self {
        Self {
            path: path.to_owned(),
            partial,
            writer,
            numbers: HashMap::new(),
            keys: HashMap::new(),
            next_frames: HashMap::new(),
            sync: SyncPolicy::Segment,
            flushes_in_time: false,
            flushed_ns: unix_ns(),
        }
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let output = self.writer.get_mut();
        let synced = output.flush().and_then(|()| match self.sync {
            SyncPolicy::Checkpoint => output.get_ref().sync_data(),
            SyncPolicy::Segment | SyncPolicy::Never => Ok(()),
        });
        synced.map_err(|source| write_error(&self.path, source))
    }

    fn flush_in_time(&mut self) -> Result<(), SinkError> {
        let now = unix_ns();
        if !self.flushes_in_time || now.saturating_sub(self.flushed_ns) < FLUSH_EVERY_NS {
            return Ok(());
        }
        self.flushed_ns = now;
        self.flush()
    }

    fn error(&self, source: PacketError) -> SinkError {
        SinkError::Packets { path: self.path.clone(), source }
    }
}

impl Sink for FileSink {
    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        origin: &Origin,
    ) -> Result<(), SinkError> {
        let info = named(info, origin);
        let known = self.keys.get(&info.key).filter(|_| !matches!(origin, Origin::Port { .. }));
        let number = match known {
            Some(number) => *number,
            None => {
                let number = self.writer.add_stream(&info).map_err(|error| self.error(error))?;
                self.keys.insert(info.key.clone(), number);
                number
            }
        };
        self.numbers.insert(stream, number);
        Ok(())
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        self.numbers.remove(&stream);
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let number = *self.numbers.get(&outgoing.stream).ok_or(SinkError::UnknownStream(outgoing.stream))?;
        let header = &outgoing.packet.header;
        let end = header.first_frame.saturating_add(u64::from(header.frames));
        let next = self.next_frames.entry(number).or_default();
        if end <= *next {
            return Ok(());
        }
        *next = end;
        self.writer.write_packet(number, &outgoing.bytes).map_err(|error| self.error(error))?;
        self.flush_in_time()
    }

    fn checkpoint(&mut self, _: &Checkpoint) -> Result<(), SinkError> {
        self.flush()
    }

    fn idle(&mut self) -> Result<(), SinkError> {
        self.flush_in_time()
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        let Self { path, partial, writer, sync, .. } = *self;
        let (output, parts) =
            writer.finish().map_err(|source| SinkError::Packets { path: path.clone(), source })?;
        let place = || -> std::io::Result<()> {
            let file = output.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            if let Some(partial) = partial {
                if sync == SyncPolicy::Never {
                    return partial.rename(&path);
                }
                file.sync_all()?;
                partial.rename(&path)?;
                File::open(folder_of(&path))?.sync_all()?;
            }
            Ok(())
        };
        place().map_err(|source| write_error(&path, source))?;
        Ok(SinkReport { bytes_written: Some(parts.total()), mirror: None })
    }
}
