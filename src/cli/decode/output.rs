//! Decoded samples on their way to a file.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::format::Format;
use super::usage;
use crate::cli::{CliError, exit, print, warn};
use crate::signal::{ChannelInfo, SampleType};
use crate::source::file::write::{RowWriter, WrittenColumn};

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// One column of an output.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) sample_type: SampleType,
    pub(super) sample_rate_hz: f64,
    pub(super) channel: ChannelInfo,
    /// True if physical values are wanted.
    pub(super) physical: bool,
}

impl Column {
    /// What is written of it: physical values are doubles.
    pub(super) fn written(&self) -> WrittenColumn {
        WrittenColumn {
            name: self.name.clone(),
            sample_type: if self.physical { SampleType::F64 } else { self.sample_type },
            channel: self.channel.clone(),
        }
    }

    fn value(&self, sample: f64) -> f64 {
        match self.physical {
            true => (sample - self.channel.baseline) / self.channel.gain,
            false => sample,
        }
    }
}

/// A file of rows, filled column by column.
pub(super) struct Output {
    path: PathBuf,
    /// Where the rows go: for WFDB beside the header.
    data_path: PathBuf,
    /// None while the file is closed.
    file: Option<BufWriter<Box<dyn Write>>>,
    writer: Box<dyn RowWriter>,
    columns: Vec<Column>,
    /// Samples that wait for the other columns of their row; none for lost ones.
    waiting: Vec<VecDeque<Option<f64>>>,
    /// Rows of the first column at which a time is known.
    times: VecDeque<(u64, i64)>,
    row: Vec<Option<f64>>,
    bytes: Vec<u8>,
    rows: u64,
}

impl Output {
    pub(super) fn create(path: &Path, format: Format, columns: Vec<Column>) -> Result<Self, CliError> {
        let physical = columns.iter().any(|column| column.physical);
        if let Some(misfit) = format.misfit(path, physical) {
            return Err(usage(misfit));
        }
        let writer =
            format.writer(&columns).map_err(|error| usage(format_args!("{}: {error}", path.display())))?;
        let data_path = format.data_path(path);
        let error = |error| {
            CliError::new(exit::CANNOT_CREATE, format_args!("cannot create {}: {error}", data_path.display()))
        };
        let sink: Box<dyn Write> = if path.as_os_str() == "-" {
            Box::new(std::io::stdout())
        } else {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(error)?;
            }
            Box::new(File::create(&data_path).map_err(error)?)
        };
        let mut output = Self {
            path: path.to_owned(),
            file: Some(BufWriter::with_capacity(BUFFER_BYTES, sink)),
            waiting: columns.iter().map(|_| VecDeque::new()).collect(),
            times: VecDeque::new(),
            row: Vec::new(),
            bytes: writer.front(),
            rows: 0,
            data_path,
            writer,
            columns,
        };
        output.write()?;
        Ok(output)
    }

    /// True if the file is open.
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Closes the file; it is opened again, and written to at its end, when there is more.
    pub(super) fn close(&mut self) -> Result<(), CliError> {
        match self.file.take() {
            Some(mut file) => file.flush().map_err(|error| self.error(&error)),
            None => Ok(()),
        }
    }

    /// True if `column` has no samples yet.
    pub(super) fn is_new(&self, column: usize) -> bool {
        self.rows == 0 && self.waiting.get(column).is_some_and(VecDeque::is_empty)
    }

    /// The next sample of `column` is of this time, in nanoseconds since the Unix epoch: the first one, or one behind a
    /// gap. Rows have one time, that of the first column.
    pub(super) fn at(&mut self, column: usize, time_ns: i64) {
        if let (0, Some(waiting)) = (column, self.waiting.first()) {
            self.times.push_back((self.rows + waiting.len() as u64, time_ns));
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
        self.writer.end(&mut self.bytes);
        self.write()?;
        self.close()?;
        if self.writer.changes_front() {
            let front = self.writer.front();
            let file = OpenOptions::new().write(true).open(&self.data_path);
            file.and_then(|mut file| file.write_all(&front)).map_err(|error| self.error(&error))?;
        }
        let data_file = self.data_path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(header) = self.writer.header(&data_file) {
            std::fs::write(&self.path, header).map_err(|error| {
                CliError::new(exit::IO, format_args!("cannot write {}: {error}", self.path.display()))
            })?;
        }
        for note in self.writer.notes() {
            warn(&format!("{}: {note}", self.path.display()));
        }
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
                return self.write();
            }
            while let Some((_, time_ns)) = self.times.front().copied().filter(|(row, _)| *row <= self.rows) {
                self.times.pop_front();
                self.writer.at(time_ns, &mut self.bytes);
            }
            self.row.clear();
            for (column, waiting) in self.columns.iter().zip(&mut self.waiting) {
                self.row.push(waiting.pop_front().flatten().map(|sample| column.value(sample)));
            }
            self.writer.row(&self.row, &mut self.bytes);
            self.rows += 1;
            if self.bytes.len() >= BUFFER_BYTES {
                self.write()?;
            }
        }
    }

    /// Writes the bytes that are there.
    fn write(&mut self) -> Result<(), CliError> {
        let bytes = std::mem::take(&mut self.bytes);
        let written = match &mut self.file {
            _ if bytes.is_empty() => Ok(()),
            Some(file) => file.write_all(&bytes),
            None => OpenOptions::new().append(true).open(&self.data_path).and_then(|file| {
                let file = BufWriter::with_capacity(BUFFER_BYTES, Box::new(file) as Box<dyn Write>);
                self.file.insert(file).write_all(&bytes)
            }),
        };
        self.bytes = bytes;
        self.bytes.clear();
        written.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &std::io::Error) -> CliError {
        CliError::new(exit::IO, format_args!("cannot write {}: {error}", self.data_path.display()))
    }
}
