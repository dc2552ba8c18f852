//! Signal files: the counts of one or more signals, frame after frame.

use std::io::{Read, copy, sink};
use std::path::{Path, PathBuf};

use super::header::{Encoding, Signal};
use crate::signal::SampleType;
use crate::source::SourceError;
use crate::source::file::input::Input;
use crate::source::file::{format_error, io_error, read_up_to};

impl Encoding {
    /// The encoding with a number in the standard.
    pub(super) fn of(format: &str) -> Option<Self> {
        [Self::Packed12, Self::Little16, Self::Little24, Self::Little32]
            .into_iter()
            .find(|encoding| encoding.format() == format)
    }

    /// Its number in the standard.
    pub(super) fn format(self) -> &'static str {
        match self {
            Self::Packed12 => "212",
            Self::Little16 => "16",
            Self::Little24 => "24",
            Self::Little32 => "32",
        }
    }

    /// Bits that a sample takes.
    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Packed12 => 12,
            Self::Little16 => 16,
            Self::Little24 => 24,
            Self::Little32 => 32,
        }
    }

    pub(super) fn sample_type(self) -> SampleType {
        match self {
            Self::Packed12 | Self::Little16 => SampleType::I16,
            Self::Little24 => SampleType::I24,
            Self::Little32 => SampleType::I32,
        }
    }

    /// The count that marks a sample as missing: the lowest one.
    pub(super) fn missing(self) -> i32 {
        i32::MIN >> (32 - u32::from(self.bits()))
    }

    /// Counts in `bytes` bytes; the last one of format 212 may have its two bytes alone.
    fn values_in(self, bytes: u64) -> u64 {
        match self {
            Self::Packed12 => bytes / 3 * 2 + u64::from(bytes % 3 == 2),
            _ => bytes / u64::from(self.bits() / 8),
        }
    }

    /// True if the last of `bytes` bytes is not a whole count.
    fn cuts(self, bytes: u64) -> bool {
        match self {
            Self::Packed12 => bytes % 3 == 1,
            _ => !bytes.is_multiple_of(u64::from(self.bits() / 8)),
        }
    }

    /// Appends the counts in `bytes`.
    fn decode(self, bytes: &[u8], counts: &mut Vec<i32>) {
        match self {
            Self::Packed12 => {
                // The shift right brings the sign of the 12 bits down.
                let count =
                    |high: u8, low: u8| i32::from(i16::from_be_bytes([high << 4 | low >> 4, low << 4]) >> 4);
                let (triples, rest) = bytes.as_chunks::<3>();
                counts.reserve(triples.len() * 2 + 1);
                for [low, highs, next_low] in triples {
                    counts.push(count(highs & 0x0f, *low));
                    counts.push(count(highs >> 4, *next_low));
                }
                if let [low, highs] = rest {
                    counts.push(count(highs & 0x0f, *low));
                }
            }
            Self::Little16 => {
                counts.extend(
                    bytes.as_chunks::<2>().0.iter().map(|bytes| i32::from(i16::from_le_bytes(*bytes))),
                );
            }
            Self::Little24 => {
                let count = |[a, b, c]: &[u8; 3]| i32::from_le_bytes([0, *a, *b, *c]) >> 8;
                counts.extend(bytes.as_chunks::<3>().0.iter().map(count));
            }
            Self::Little32 => {
                counts.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)));
            }
        }
    }
}

/// Reads the signals that lie in one file.
pub(super) struct SignalFile {
    pub(super) path: PathBuf,
    /// Sums of all counts read so far modulo 2^16, one for each signal.
    pub(super) sums: Vec<u16>,
    file: Input,
    length: u64,
    encoding: Encoding,
    byte_offset: u64,
    samples_per_frame: usize,
    bytes: Vec<u8>,
    /// The second count of a pair whose first one ended a block.
    pending: Option<i32>,
}

impl SignalFile {
    /// Opens the file of `signals`, all of the record whose header is at `header`.
    pub(super) fn open(header: &Path, signals: &[Signal]) -> Result<Self, SourceError> {
        let Some(first) = signals.first() else {
            return Err(format_error(header, "header", "has no signals"));
        };
        if signals.iter().any(|signal| signal.byte_offset != first.byte_offset) {
            let reason = format!("the signals in {} have different byte offsets", first.file);
            return Err(format_error(header, "byte offset", reason));
        }
        let path = stored_path(header.with_file_name(&first.file));
        let mut file = Input::open(&path)?;
        let length = match file.length() {
            Some(length) => length,
            // What is compressed shows its length only by being read.
            None => Input::open(&path)?.count_rest().map_err(|error| io_error(&path, error))?,
        };
        if length == 0 {
            return Err(format_error(&path, "file", "is empty"));
        }
        copy(&mut (&mut file).take(first.byte_offset), &mut sink())
            .map_err(|error| io_error(&path, error))?;
        Ok(Self {
            path,
            sums: vec![0; signals.len()],
            file,
            length: length.saturating_sub(first.byte_offset),
            encoding: first.encoding,
            byte_offset: first.byte_offset,
            samples_per_frame: first.samples_per_frame,
            bytes: Vec::new(),
            pending: None,
        })
    }

    /// Why the file ended before its time, where it did.
    pub(super) fn damage(&self) -> Option<String> {
        self.file.damage()
    }

    fn values_per_frame(&self) -> usize {
        self.sums.len() * self.samples_per_frame
    }

    /// Whole frames in the file.
    pub(super) fn frames_stored(&self) -> u64 {
        self.encoding.values_in(self.length) / self.values_per_frame() as u64
    }

    /// Counts after the last whole frame, one more where the last byte is not a whole count.
    pub(super) fn values_left_over(&self) -> u64 {
        let values = self.encoding.values_in(self.length);
        let cut = self.encoding.cuts(self.length);
        values % self.values_per_frame() as u64 + u64::from(cut)
    }

    /// The byte at which frame number `frame` starts.
    pub(super) fn byte_of_frame(&self, frame: u64) -> u64 {
        let bits = u64::from(self.encoding.bits()) * self.values_per_frame() as u64;
        self.byte_offset.saturating_add(frame.saturating_mul(bits) / 8)
    }

    /// Reads up to `frames` frames into `counts` and returns how many; fewer only at the end of the file.
    pub(super) fn read(&mut self, frames: usize, counts: &mut Vec<i32>) -> Result<usize, SourceError> {
        let values = frames * self.values_per_frame();
        counts.clear();
        counts.extend(self.pending.take());
        let missing = values.saturating_sub(counts.len());
        let bytes = match self.encoding {
            Encoding::Packed12 => missing.div_ceil(2) * 3,
            encoding => missing * usize::from(encoding.bits() / 8),
        };
        self.bytes.resize(bytes, 0);
        let filled =
            read_up_to(&mut self.file, &mut self.bytes).map_err(|error| io_error(&self.path, error))?;
        self.encoding.decode(self.bytes.get(..filled).unwrap_or_default(), counts);
        self.pending = counts.get(values).copied();
        counts.truncate(values);

        let frames = counts.len() / self.values_per_frame();
        counts.truncate(frames * self.values_per_frame());
        Ok(frames)
    }

    /// Writes frames of counts to rows of `channels` samples, this file's signals from `first_channel` on.
    pub(super) fn spread(
        &mut self,
        counts: &[i32],
        samples: &mut [f64],
        first_channel: usize,
        channels: usize,
    ) {
        let missing = self.encoding.missing();
        let frames = counts.chunks_exact(self.values_per_frame());
        for (frame, rows) in frames.zip(samples.chunks_exact_mut(self.samples_per_frame * channels)) {
            for (signal, (counts, sum)) in
                frame.chunks_exact(self.samples_per_frame).zip(&mut self.sums).enumerate()
            {
                let column = rows.iter_mut().skip(first_channel + signal).step_by(channels);
                for (count, sample) in counts.iter().zip(column) {
                    *sum = sum.wrapping_add(*count as u16);
                    *sample = if *count == missing { f64::NAN } else { f64::from(*count) };
                }
            }
        }
    }
}

/// The signal file itself or, where it is not there, its compressed form.
fn stored_path(path: PathBuf) -> PathBuf {
    if path.exists() {
        return path;
    }
    let compressed = ["gz", "zst"].map(|extension| {
        let mut name = path.clone().into_os_string();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    });
    compressed.into_iter().find(|path| path.exists()).unwrap_or(path)
}
