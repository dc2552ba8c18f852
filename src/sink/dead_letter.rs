//! Dead letters: inputs that cannot be used, logged and kept.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Outgoing, Sink, SinkError, SinkReport};
use crate::signal::{Checkpoint, DeadLetter, Origin, Position, StreamIndex, StreamInfo};
use crate::telemetry::Repeats;

/// Letters that are logged one by one; of those that follow, one now and then, with how many were left out.
const LOGGED_LETTERS: u64 = 10;
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// Logs dead letters, and writes them as JSON lines where a file is given.
pub struct DeadLetterSink {
    file: Option<(PathBuf, BufWriter<File>)>,
    logged: Repeats,
}

#[derive(Serialize)]
struct Line<'a> {
    stage: String,
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    reason: &'a str,
    samples: u64,
}

impl DeadLetterSink {
    /// A sink that keeps letters in the file at `path`, behind those that are there if `append`.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: Option<&Path>, append: bool) -> Result<Self, SinkError> {
        let file = match path {
            None => None,
            Some(path) => {
                let error = |source| SinkError::Create { path: path.to_owned(), source };
                if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                    std::fs::create_dir_all(folder).map_err(error)?;
                }
                let mut options = OpenOptions::new();
                options.create(true).write(true).append(append).truncate(!append);
                Some((path.to_owned(), BufWriter::new(options.open(path).map_err(error)?)))
            }
        };
        Ok(Self { file, logged: Repeats::new(LOGGED_LETTERS, LOGGED_EVERY) })
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let Some((path, output)) = &mut self.file else { return Ok(()) };
        output.flush().map_err(|source| SinkError::Write { path: path.clone(), source })
    }
}

impl Sink for DeadLetterSink {
    fn add_stream(&mut self, _: StreamIndex, _: &Arc<StreamInfo>, _: &Origin) -> Result<(), SinkError> {
        Ok(())
    }

    fn is_output(&self) -> bool {
        false
    }

    fn write(&mut self, _: &Outgoing) -> Result<(), SinkError> {
        Ok(())
    }

    fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), SinkError> {
        let (byte, offset) = match letter.position {
            Position::Byte(byte) => (Some(byte), None),
            Position::Offset(offset) => (None, Some(offset)),
            Position::None => (None, None),
        };
        if let Some(left_out) = self.logged.event(Instant::now()) {
            let left_out = Some(left_out).filter(|count| *count > 0);
            tracing::warn!(
                stage = %letter.stage, origin = letter.origin, byte, offset, samples = letter.samples, left_out,
                "dead letter: {}", letter.reason
            );
        }
        let Some((path, output)) = &mut self.file else { return Ok(()) };
        let line = Line {
            stage: letter.stage.to_string(),
            origin: &letter.origin,
            byte,
            offset,
            reason: &letter.reason,
            samples: letter.samples,
        };
        serde_json::to_writer(&mut *output, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| output.write_all(b"\n"))
            .map_err(|source| SinkError::Write { path: path.clone(), source })
    }

    fn checkpoint(&mut self, _: &Checkpoint) -> Result<(), SinkError> {
        self.flush()
    }

    fn finish(mut self: Box<Self>) -> Result<SinkReport, SinkError> {
        self.flush()?;
        Ok(SinkReport::default())
    }
}
