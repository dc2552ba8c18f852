//! WFDB records: PhysioNet's headers and signal files, in formats 212, 16, 24 and 32.
//!
//! - The stream's rate is the frame rate times the samples per frame, which must be the same for all
//!   signals; signals may lie in several files, which must have the same format.
//! - The lowest count of a format (-2048 in 212, -32768 in 16, ...) marks a sample as missing.
//! - The header's base date and time, taken as UTC, are the time of the first sample.
//! - A file shorter than its header says ends in a dead letter with the number of samples that are missing,
//!   a longer one in a dead letter with those that were not read.
//! - Checksums that do not fit are logged and no more: programs that cut records seldom recompute them.

mod header;
mod signal_file;
mod writer;

use std::path::{Path, PathBuf};

use self::header::{Encoding, Header};
use self::signal_file::SignalFile;
pub(crate) use self::writer::WfdbWriter;
use super::input::{is_stdin, uncompressed};
use super::rows::{Flaw, RowReader, RowSource};
use super::{
    FileOptions, Recording, Source, SourceError, channel_names, check_option, check_rate, extension,
    format_error, read_text,
};
use crate::signal::{ChannelInfo, StreamInfo, StreamKey};

/// Opens the record whose header or signal file is at `path`, or whose name it is.
pub(super) fn open(recording: &Recording<'_>, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    if is_stdin(recording.path) {
        return Err(recording.error("format", "a WFDB record lies in several files: name its header"));
    }
    let path = &header_path(recording.path);
    let header = header::parse(path, &read_text(path)?)?;
    check_option(path, "channels", options.channels, header.signals.len())?;
    let reader = RecordReader::open(path, &header)?;
    let sample_type = reader.encoding.sample_type();
    check_option(path, "sample_type", options.sample_type, sample_type)?;

    let sample_rate_hz =
        options.sample_rate_hz.unwrap_or(header.frame_rate_hz * reader.samples_per_frame as f64);
    check_rate(path, "sampling frequency", sample_rate_hz)?;
    let descriptions: Vec<String> = header.signals.iter().map(|signal| signal.description.clone()).collect();
    let channel = |(name, signal): (String, &header::Signal)| ChannelInfo {
        name,
        unit: signal.unit.clone(),
        gain: signal.gain,
        baseline: signal.baseline,
    };
    let info = StreamInfo {
        key: StreamKey::new(recording.name),
        sample_rate_hz,
        sample_type,
        stored_bits: reader.encoding.bits(),
        channels: channel_names(&descriptions).into_iter().zip(&header.signals).map(channel).collect(),
    };
    let total_rows = reader.frames_to_read * reader.samples_per_frame as u64;
    let origin = path.display().to_string();
    Ok(Box::new(RowSource::new(
        reader,
        origin,
        info,
        header.start_ns,
        Some(total_rows),
        options.chunk_samples,
    )))
}

fn header_path(path: &Path) -> PathBuf {
    match extension(path).as_str() {
        "hea" => path.to_owned(),
        "dat" => uncompressed(path).with_extension("hea"),
        _ => {
            let mut path = path.as_os_str().to_owned();
            path.push(".hea");
            path.into()
        }
    }
}

/// Reads all signals of a record side by side.
struct RecordReader {
    path: PathBuf,
    files: Vec<SignalFile>,
    encoding: Encoding,
    samples_per_frame: usize,
    /// What the header says.
    frames_declared: Option<u64>,
    /// What the shortest of the files holds.
    frames_stored: u64,
    frames_to_read: u64,
    frames_read: u64,
    checksums: Vec<Option<u16>>,
    counts: Vec<i32>,
}

impl RecordReader {
    fn open(path: &Path, header: &Header) -> Result<Self, SourceError> {
        let Some(first) = header.signals.first() else {
            return Err(format_error(path, "header", "has no signals"));
        };
        let samples_per_frame = first.samples_per_frame;
        for signal in &header.signals {
            if signal.encoding != first.encoding {
                let reason = format!(
                    "signals in formats {} and {} in one record are not read",
                    first.encoding.format(),
                    signal.encoding.format()
                );
                return Err(format_error(path, "format", reason));
            }
            if signal.samples_per_frame != samples_per_frame {
                let reason = format!(
                    "signals at different rates are not read: {samples_per_frame} and {} samples per frame",
                    signal.samples_per_frame
                );
                return Err(format_error(path, "samples per frame", reason));
            }
        }
        let files = header
            .signals
            .chunk_by(|a, b| a.file == b.file)
            .map(|signals| SignalFile::open(path, signals))
            .collect::<Result<Vec<_>, _>>()?;
        for (i, file) in files.iter().enumerate() {
            if files.iter().skip(i + 1).any(|other| other.path == file.path) {
                let reason = format!("signals of {} do not stand together", file.path.display());
                return Err(format_error(path, "header", reason));
            }
        }
        let frames_stored = files.iter().map(SignalFile::frames_stored).min().unwrap_or(0);
        if frames_stored == 0 {
            return Err(format_error(path, "signal file", "holds no samples"));
        }
        Ok(Self {
            path: path.to_owned(),
            files,
            encoding: first.encoding,
            samples_per_frame,
            frames_declared: header.frames,
            frames_stored,
            frames_to_read: header.frames.unwrap_or(frames_stored).min(frames_stored),
            frames_read: 0,
            checksums: header.signals.iter().map(|signal| signal.checksum).collect(),
            counts: Vec::new(),
        })
    }

    fn signal_count(&self) -> usize {
        self.checksums.len()
    }

    fn verify_checksums(&self) {
        let sums = self.files.iter().flat_map(|file| &file.sums);
        let wrong: Vec<usize> = self
            .checksums
            .iter()
            .zip(sums)
            .enumerate()
            .filter(|(_, (expected, sum))| expected.is_some_and(|expected| expected != **sum))
            .map(|(signal, _)| signal)
            .collect();
        if !wrong.is_empty() {
            tracing::warn!(
                record = %self.path.display(),
                signals = ?wrong,
                "checksums of the header do not fit: the record was cut or changed after they were written"
            );
        }
    }
}

impl RowReader for RecordReader {
    fn read(&mut self, rows: usize, samples: &mut Vec<f64>) -> Result<usize, SourceError> {
        let frames = (rows / self.samples_per_frame).max(1) as u64;
        let frames = frames.min(self.frames_to_read - self.frames_read) as usize;
        let channels = self.signal_count();
        samples.resize(frames * self.samples_per_frame * channels, f64::NAN);
        let mut frames_read = frames;
        let mut first_channel = 0;
        for file in &mut self.files {
            let frames_of_file = file.read(frames, &mut self.counts)?;
            frames_read = frames_read.min(frames_of_file);
            file.spread(&self.counts, samples, first_channel, channels);
            first_channel += file.sums.len();
        }
        samples.truncate(frames_read * self.samples_per_frame * channels);
        self.frames_read += frames_read as u64;
        if frames_read < frames {
            // A file was cut while it was read.
            self.frames_stored = self.frames_read;
            self.frames_to_read = self.frames_read;
        }
        Ok(frames_read * self.samples_per_frame)
    }

    fn byte_of(&self, row: u64) -> u64 {
        let frame = row / self.samples_per_frame as u64;
        self.files.first().map_or(0, |file| file.byte_of_frame(frame))
    }

    fn missing(&self) -> &'static str {
        match self.encoding {
            Encoding::Packed12 => "marked as missing (-2048)",
            Encoding::Little16 => "marked as missing (-32768)",
            Encoding::Little24 => "marked as missing (-8388608)",
            Encoding::Little32 => "marked as missing (-2147483648)",
        }
    }

    fn flaw(&mut self) -> Option<Flaw> {
        let samples_per_frame = (self.samples_per_frame * self.signal_count()) as u64;
        let damage = self.files.iter().find_map(SignalFile::damage);
        let Some(declared) = self.frames_declared else {
            let values = self.files.iter().map(SignalFile::values_left_over).sum();
            return (values > 0 || damage.is_some()).then(|| Flaw {
                reason: damage.unwrap_or_else(|| {
                    "the signal file ends within a frame, and the header does not say its length".into()
                }),
                samples: values,
            });
        };
        // A single signal of odd length may end in a pair whose second count is padding.
        let padding = self.encoding == Encoding::Packed12 && samples_per_frame == 1 && declared % 2 == 1;
        if declared == self.frames_stored || padding && declared + 1 == self.frames_stored {
            self.verify_checksums();
            return None;
        }
        let damage = damage.map(|damage| format!(": {damage}")).unwrap_or_default();
        let reason = format!(
            "the header says {declared} samples per signal, the signal file holds {}{damage}",
            self.frames_stored
        );
        Some(Flaw {
            reason,
            samples: declared.abs_diff(self.frames_stored).saturating_mul(samples_per_frame),
        })
    }
}

#[cfg(test)]
mod tests;
