//! The file sink: packets in a `.rvl` file.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::{Outgoing, Sink, SinkError, SinkReport};
use crate::packet::{PacketError, rvl};
use crate::signal::{StreamIndex, StreamInfo};

/// Writes a `.rvl` file.
///
/// The file grows as `NAME.partial` and gets its name once it is whole, so that a reader never takes a part
/// for the whole and an older file stays until it can be replaced. After an error the part is removed; after a
/// crash it stays and can be read. What is not a regular file (a pipe, a device) is written in place.
pub struct FileSink {
    path: PathBuf,
    partial: Option<Partial>,
    writer: rvl::Writer<BufWriter<File>>,
    /// The file's number of each stream, by stream index.
    numbers: Vec<Option<u32>>,
}

impl FileSink {
    /// Creates the file and the folders above it.
    ///
    /// # Errors
    /// [`SinkError::Create`] where that is not possible.
    pub fn create(path: &Path) -> Result<Self, SinkError> {
        let create_error = |path: &Path, source| SinkError::Create { path: path.to_owned(), source };
        let in_place = path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir());
        if path.is_dir() {
            return Err(create_error(path, std::io::ErrorKind::IsADirectory.into()));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|source| create_error(folder, source))?;
        }
        let partial = (!in_place).then(|| Partial::beside(path));
        let target = partial.as_ref().map_or(path, |partial| &partial.path);
        let file = File::create(target).map_err(|source| create_error(target, source))?;
        let writer = rvl::Writer::new(BufWriter::with_capacity(1 << 16, file))
            .map_err(|source| SinkError::Packets { path: target.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), partial, writer, numbers: Vec::new() })
    }

    fn error(&self, source: PacketError) -> SinkError {
        SinkError::Packets { path: self.path.clone(), source }
    }
}

impl Sink for FileSink {
    fn add_stream(&mut self, stream: StreamIndex, info: &StreamInfo) -> Result<(), SinkError> {
        let number = self.writer.add_stream(info).map_err(|error| self.error(error))?;
        if self.numbers.len() <= stream {
            self.numbers.resize(stream + 1, None);
        }
        self.numbers[stream] = Some(number);
        Ok(())
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let number = self
            .numbers
            .get(outgoing.stream)
            .copied()
            .flatten()
            .ok_or(SinkError::UnknownStream(outgoing.stream))?;
        self.writer.write_packet(number, &outgoing.bytes).map_err(|error| self.error(error))
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        let Self { path, partial, writer, .. } = *self;
        let (output, parts) =
            writer.finish().map_err(|source| SinkError::Packets { path: path.clone(), source })?;
        let place = || -> std::io::Result<()> {
            let file = output.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            if let Some(partial) = partial {
                file.sync_all()?;
                partial.rename(&path)?;
            }
            Ok(())
        };
        place().map_err(|source| SinkError::Write { path: path.clone(), source })?;
        Ok(SinkReport { bytes_written: Some(parts.total()), mirror: None })
    }
}

/// A file that is not whole yet; removed unless it gets its name.
struct Partial {
    path: PathBuf,
    whole: bool,
}

impl Partial {
    fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        Self { path: name.into(), whole: false }
    }

    fn rename(mut self, path: &Path) -> std::io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.whole {
            // Nothing to tell anyone here: the error that left the file in parts has been reported.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
