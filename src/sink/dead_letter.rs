//! Dead letters: inputs that cannot be used, counted and kept.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::SinkError;
use crate::signal::{DeadLetter, Position};

/// Letters beyond this many are counted and kept but no longer logged one by one.
const LOGGED_LETTERS: u64 = 10;

/// Counts and logs dead letters, and writes them as JSON lines where a file is given.
pub struct DeadLetterSink {
    file: Option<(PathBuf, BufWriter<File>)>,
    count: u64,
    samples: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    stage: String,
    origin: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    byte: Option<u64>,
    reason: &'a str,
    samples: u64,
}

impl DeadLetterSink {
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: Option<&Path>) -> Result<Self, SinkError> {
        let file = match path {
            None => None,
            Some(path) => {
                let error = |source| SinkError::Create { path: path.to_owned(), source };
                if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                    std::fs::create_dir_all(folder).map_err(error)?;
                }
                Some((path.to_owned(), BufWriter::new(File::create(path).map_err(error)?)))
            }
        };
        Ok(Self { file, count: 0, samples: 0 })
    }

    /// Takes one letter.
    ///
    /// # Errors
    /// It could not be kept.
    pub fn write(&mut self, letter: &DeadLetter) -> Result<(), SinkError> {
        self.count += 1;
        self.samples += letter.samples;
        let byte = if let Position::Byte(byte) = letter.position { Some(byte) } else { None };
        if self.count <= LOGGED_LETTERS {
            tracing::warn!(
                stage = %letter.stage, origin = letter.origin, byte, samples = letter.samples,
                "dead letter: {}", letter.reason
            );
        }
        if self.count == LOGGED_LETTERS {
            tracing::warn!("further dead letters are counted, not logged");
        }
        let Some((path, output)) = &mut self.file else { return Ok(()) };
        let line = Line {
            stage: letter.stage.to_string(),
            origin: &letter.origin,
            byte,
            reason: &letter.reason,
            samples: letter.samples,
        };
        serde_json::to_writer(&mut *output, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| output.write_all(b"\n"))
            .map_err(|source| SinkError::Write { path: path.clone(), source })
    }

    /// Letters and the samples lost with them.
    ///
    /// # Errors
    /// The last letters could not be written.
    pub fn finish(self) -> Result<(u64, u64), SinkError> {
        if let Some((path, mut output)) = self.file {
            output.flush().map_err(|source| SinkError::Write { path, source })?;
        }
        Ok((self.count, self.samples))
    }
}
