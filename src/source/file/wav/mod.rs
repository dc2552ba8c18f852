//! WAVE files: PCM with 8, 16, 24 and 32 bits, floats with 32 and 64.
//!
//! - Samples of 8 bits, which are stored without sign, become counts from -128 to 127.
//! - A file that is shorter than its header says ends in a dead letter with the number of samples that are missing;
//!   what stands behind the samples of a longer one is not looked at, as other chunks may come there.
//! - A writer that could not come back to set the length leaves it 0 or the largest number there is: then there are
//!   samples up to the end.

mod header;
mod writer;

use std::path::PathBuf;

use self::header::{Encoding, Header, HeaderError};
pub(crate) use self::writer::WavWriter;
use super::input::Input;
use super::rows::{Flaw, RowReader, RowSource};
use super::{
    Endian, FileOptions, Recording, Source, SourceError, channel_names, check_channels, check_option,
    check_rate, io_error, read_up_to,
};
use crate::signal::{ChannelInfo, StreamInfo, StreamKey};
use crate::source::sample_bytes;

/// Opens a WAVE file.
pub(super) fn open(recording: &Recording<'_>, options: &FileOptions) -> Result<Box<dyn Source>, SourceError> {
    let path = recording.path;
    let mut input = Input::open(path)?;
    let header = header::read(&mut input).map_err(|error| match (error, input.damage()) {
        (HeaderError::Io(error), _) => io_error(path, error),
        (HeaderError::Format(byte, reason), None) => recording.error(format_args!("byte {byte}"), reason),
        (HeaderError::Format(byte, _), Some(damage)) => recording.error(format_args!("byte {byte}"), damage),
    })?;
    check_channels(path, "channels", header.channels)?;
    check_option(path, "channels", options.channels, header.channels)?;
    let sample_type = header.encoding.sample_type();
    check_option(path, "sample_type", options.sample_type, sample_type)?;
    let sample_rate_hz = options.sample_rate_hz.unwrap_or(f64::from(header.sample_rate_hz));
    check_rate(path, "sample rate", sample_rate_hz)?;
    let names = channel_names(&vec![String::new(); header.channels]);
    let info = StreamInfo {
        key: StreamKey::new(recording.name),
        sample_rate_hz,
        sample_type,
        stored_bits: header.encoding.bits(),
        channels: names.into_iter().map(ChannelInfo::unscaled).collect(),
    };
    let row_bytes = header.channels * usize::from(header.encoding.bits() / 8);
    let stored = input.length().map(|length| length.saturating_sub(header.data_offset));
    let declared = header.data_bytes.filter(|bytes| *bytes > 0);
    let data_bytes = match (declared, stored) {
        (Some(declared), Some(stored)) => Some(declared.min(stored)),
        (declared, stored) => declared.or(stored),
    };
    if data_bytes == Some(0) {
        return Err(recording.error("data chunk", "holds no samples"));
    }
    let total_rows = data_bytes.map(|bytes| bytes / row_bytes as u64);
    let reader = WavReader {
        path: path.to_owned(),
        input,
        header,
        declared,
        row_bytes,
        bytes: Vec::new(),
        read_bytes: 0,
    };
    Ok(Box::new(RowSource::new(reader, recording.origin(), info, None, total_rows, options.chunk_samples)))
}

struct WavReader {
    path: PathBuf,
    input: Input,
    header: Header,
    /// Bytes of samples by the header, where it says it.
    declared: Option<u64>,
    row_bytes: usize,
    bytes: Vec<u8>,
    /// Bytes of samples so far, those of a row that is cut too.
    read_bytes: u64,
}

impl RowReader for WavReader {
    fn read(&mut self, rows: usize, samples: &mut Vec<f64>) -> Result<usize, SourceError> {
        let wanted = (rows * self.row_bytes) as u64;
        let left = self.declared.map_or(u64::MAX, |declared| declared - self.read_bytes);
        self.bytes.resize(wanted.min(left) as usize, 0);
        let filled =
            read_up_to(&mut self.input, &mut self.bytes).map_err(|error| io_error(&self.path, error))?;
        self.read_bytes += filled as u64;
        let rows = filled / self.row_bytes;
        let bytes = self.bytes.get(..rows * self.row_bytes).unwrap_or_default();
        match self.header.encoding {
            Encoding::Unsigned8 => samples.extend(bytes.iter().map(|byte| f64::from(*byte) - 128.0)),
            Encoding::Typed(sample_type) => {
                sample_bytes::decode(bytes, sample_type, Endian::Little, samples);
            }
        }
        Ok(rows)
    }

    fn byte_of(&self, row: u64) -> u64 {
        self.header.data_offset.saturating_add(row.saturating_mul(self.row_bytes as u64))
    }

    fn missing(&self) -> &'static str {
        "not a finite number (NaN or infinite)"
    }

    fn flaw(&mut self) -> Option<Flaw> {
        let sample_bytes = u64::from(self.header.encoding.bits() / 8);
        let damage = self.input.damage().map(|damage| format!(": {damage}")).unwrap_or_default();
        let rest_bytes = self.read_bytes % self.row_bytes as u64;
        match self.declared {
            Some(declared) if self.read_bytes < declared => Some(Flaw {
                reason: format!(
                    "the header says {declared} bytes of samples, the file holds {}{damage}",
                    self.read_bytes
                ),
                samples: (declared - (self.read_bytes - rest_bytes)).div_ceil(sample_bytes),
            }),
            _ if rest_bytes > 0 || !damage.is_empty() => Some(Flaw {
                reason: format!(
                    "the samples end within a row of {} channels: {rest_bytes} bytes are left over{damage}",
                    self.header.channels
                ),
                samples: rest_bytes.div_ceil(sample_bytes),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
