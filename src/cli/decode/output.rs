//! Decoded samples as CSV or raw files.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::cli::{CliError, exit, print};
use crate::signal::SampleType;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// A header with the columns' names, then a row a sample; lost samples are empty.
    Csv,
    /// Little endian, columns interleaved, in the stream's sample type; lost samples are 0 for counts and NaN
    /// for floats.
    Raw,
}

impl Format {
    pub(super) fn of(path: &Path) -> Result<Self, CliError> {
        let text = path.as_os_str().to_string_lossy();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => Ok(Self::Csv),
            Some("raw" | "bin" | "dat") => Ok(Self::Raw),
            _ if path.is_dir() || text.ends_with('/') || text == "-" => Ok(Self::Csv),
            _ => Err(CliError::new(
                exit::USAGE,
                format_args!(
                    "{text}: the extension says neither csv nor raw; name it .csv or .raw, or give --format"
                ),
            )),
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Raw => "raw",
        }
    }
}

/// One column of an output.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) sample_type: SampleType,
    /// Gain and baseline, if physical values are wanted.
    pub(super) physical: Option<(f64, f64)>,
}

/// A file of rows, filled column by column.
pub(super) struct Output {
    path: PathBuf,
    /// None while the file is closed.
    writer: Option<BufWriter<Box<dyn Write>>>,
    format: Format,
    columns: Vec<Column>,
    /// Samples that wait for the other columns of their row; none for lost ones.
    waiting: Vec<VecDeque<Option<f64>>>,
    row: Vec<u8>,
    rows: u64,
}

impl Output {
    pub(super) fn create(path: &Path, format: Format, columns: Vec<Column>) -> Result<Self, CliError> {
        let error = |error| {
            CliError::new(exit::CANNOT_CREATE, format_args!("cannot create {}: {error}", path.display()))
        };
        let sink: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(error)?;
            }
            Box::new(File::create(path).map_err(error)?)
        };
        let waiting = columns.iter().map(|_| VecDeque::new()).collect();
        let mut output = Self {
            path: path.to_owned(),
            writer: Some(BufWriter::with_capacity(BUFFER_BYTES, sink)),
            format,
            columns,
            waiting,
            row: Vec::new(),
            rows: 0,
        };
        if format == Format::Csv {
            let names: Vec<String> = output.columns.iter().map(|column| quoted(&column.name)).collect();
            let header = names.join(",") + "\n";
            output.write(header.as_bytes())?;
        }
        Ok(output)
    }

    /// True if the file is open.
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.writer.is_some()
    }

    /// Closes the file; it is opened again, and written to at its end, when there is more.
    pub(super) fn close(&mut self) -> Result<(), CliError> {
        match self.writer.take() {
            Some(mut writer) => writer.flush().map_err(|error| self.error(&error)),
            None => Ok(()),
        }
    }

    /// Appends `samples`, `channels` interleaved, to as many columns from `first_column` on.
    pub(super) fn push(
        &mut self,
        first_column: usize,
        channels: usize,
        samples: &[f64],
    ) -> Result<(), CliError> {
        for (offset, column) in self.waiting.iter_mut().skip(first_column).take(channels).enumerate() {
            column.extend(samples.iter().skip(offset).step_by(channels).copied().map(Some));
        }
        self.write_rows(false)
    }

    /// Appends `count` lost samples to the columns.
    pub(super) fn skip(&mut self, first_column: usize, channels: usize, count: u64) -> Result<(), CliError> {
        for _ in 0..count {
            for column in self.waiting.iter_mut().skip(first_column).take(channels) {
                column.push_back(None);
            }
            self.write_rows(false)?;
        }
        Ok(())
    }

    /// Writes what is left and says what was written, unless that went to standard output.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        self.write_rows(true)?;
        self.close()?;
        if self.path.as_os_str() == "-" {
            return Ok(());
        }
        let (path, rows, columns) = (self.path.display(), self.rows, self.columns.len());
        print(&format!("{path}: {rows} rows of {columns} columns\n"))
    }

    fn write_rows(&mut self, rest: bool) -> Result<(), CliError> {
        loop {
            let complete = self.waiting.iter().all(|column| !column.is_empty());
            let any = self.waiting.iter().any(|column| !column.is_empty());
            if !(complete || rest && any) || self.waiting.is_empty() {
                return Ok(());
            }
            self.row.clear();
            for (index, (column, waiting)) in self.columns.iter().zip(&mut self.waiting).enumerate() {
                let sample = waiting.pop_front().flatten();
                let value = match (sample, column.physical) {
                    (Some(sample), Some((gain, baseline))) => Some((sample - baseline) / gain),
                    (sample, _) => sample,
                };
                match self.format {
                    Format::Csv => {
                        if index > 0 {
                            self.row.push(b',');
                        }
                        if let Some(value) = value {
                            // The shortest text that reads back as the same number; counts have no point.
                            let _ = match column.sample_type {
                                SampleType::F32 if column.physical.is_none() => {
                                    write!(self.row, "{}", value as f32)
                                }
                                _ => write!(self.row, "{value}"),
                            };
                        }
                    }
                    Format::Raw => push_raw(&mut self.row, column, value),
                }
            }
            if self.format == Format::Csv {
                self.row.push(b'\n');
            }
            let row = std::mem::take(&mut self.row);
            self.write(&row)?;
            self.row = row;
            self.rows += 1;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = match &mut self.writer {
            Some(writer) => writer.write_all(bytes),
            None => OpenOptions::new().append(true).open(&self.path).and_then(|file| {
                let writer = BufWriter::with_capacity(BUFFER_BYTES, Box::new(file) as Box<dyn Write>);
                self.writer.insert(writer).write_all(bytes)
            }),
        };
        written.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &std::io::Error) -> CliError {
        CliError::new(exit::IO, format_args!("cannot write {}: {error}", self.path.display()))
    }
}

/// Appends one value, little endian; physical values are doubles.
fn push_raw(row: &mut Vec<u8>, column: &Column, value: Option<f64>) {
    let sample_type = if column.physical.is_some() { SampleType::F64 } else { column.sample_type };
    let value = value.unwrap_or(if sample_type.is_integer() { 0.0 } else { f64::NAN });
    sample_type.push_le(value, row);
}

/// A CSV cell, quoted where it must be (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
