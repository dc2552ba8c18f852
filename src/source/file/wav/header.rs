//! The chunks of a WAVE file before its samples: Microsoft and IBM, "Multimedia Programming Interface and Data
//! Specifications 1.0" (1991), `WAVE_FORMAT_EXTENSIBLE` of the Windows SDK, and EBU Tech 3306 for files beyond
//! 4 GiB (RF64).

use std::io::{self, Read};

use crate::signal::SampleType;

/// Format tags.
pub(super) const PCM: u16 = 1;
pub(super) const IEEE_FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// Behind the tag, the rest of a sub-format's GUID.
const SUBFORMAT_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];

/// What a length says where the writer could not come back to set it, or the length is in the `ds64` chunk.
pub(super) const UNKNOWN_LENGTH: u32 = u32::MAX;

/// Bytes of other chunks before the samples, at most: pictures are larger than anything else that stands there.
const MAX_SKIPPED_BYTES: u64 = 1 << 26;

/// How samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Eight bits, of which 128 stands for zero.
    Unsigned8,
    /// As the sample type says, lowest byte first.
    Typed(SampleType),
}

impl Encoding {
    pub(super) fn sample_type(self) -> SampleType {
        match self {
            Self::Unsigned8 => SampleType::I16,
            Self::Typed(sample_type) => sample_type,
        }
    }

    /// Bits of a sample.
    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Unsigned8 => 8,
            Self::Typed(sample_type) => sample_type.bits(),
        }
    }
}

/// What a file says before its samples.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) encoding: Encoding,
    pub(super) channels: usize,
    pub(super) sample_rate_hz: u32,
    /// Bytes before the samples.
    pub(super) data_offset: u64,
    /// Bytes of samples, where the header says it.
    pub(super) data_bytes: Option<u64>,
}

/// Why a header cannot be read.
#[derive(Debug)]
pub(super) enum HeaderError {
    Io(io::Error),
    /// At a byte.
    Format(u64, String),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Counts the bytes that were read.
struct Chunks<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Chunks<R> {
    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, HeaderError> {
        Err(HeaderError::Format(self.offset, reason.into()))
    }

    /// The next bytes, `what` the file has there.
    fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], HeaderError> {
        let mut bytes = [0; N];
        let filled = super::super::read_up_to(&mut self.input, &mut bytes)?;
        match (filled, self.offset) {
            (filled, _) if filled == N => {
                self.offset += N as u64;
                Ok(bytes)
            }
            (0, 0) => self.refuse("is empty"),
            _ => self.refuse(format!("the file ends within {what}")),
        }
    }

    fn skip(&mut self, bytes: u64, what: &str) -> Result<(), HeaderError> {
        if bytes > MAX_SKIPPED_BYTES {
            return self
                .refuse(format!("{what} says that it has {bytes} bytes: too many before the samples"));
        }
        let skipped = io::copy(&mut (&mut self.input).take(bytes), &mut io::sink())?;
        if skipped < bytes {
            return self.refuse(format!("the file ends within {what}, before any samples"));
        }
        self.offset += skipped;
        Ok(())
    }
}

/// Reads up to the first sample.
pub(super) fn read(input: impl Read) -> Result<Header, HeaderError> {
    let mut chunks = Chunks { input, offset: 0 };
    let riff: [u8; 12] = chunks.take("the first 12 bytes")?;
    let (id, form) = (&riff[..4], &riff[8..]);
    if !matches!(id, b"RIFF" | b"RF64") || form != b"WAVE" {
        chunks.offset = 0;
        let reason = match id {
            b"RIFX" => "is a WAVE file with the highest byte first, which is not read".to_owned(),
            _ => format!("begins with {}: not a WAVE file", crate::source::cells::quoted(id)),
        };
        return chunks.refuse(reason);
    }
    let mut format = None;
    let mut long_data_bytes = None;
    loop {
        let head: [u8; 8] = chunks.take("the head of a chunk, before any samples")?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        match &head[..4] {
            b"fmt " => format = Some(read_format(&mut chunks, length)?),
            b"ds64" if length >= 24 => {
                let sizes: [u8; 24] = chunks.take("the ds64 chunk")?;
                long_data_bytes =
                    sizes.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
                chunks.skip(padded(length) - 24, "the ds64 chunk")?;
            }
            b"data" => {
                let Some((encoding, channels, sample_rate_hz)) = format else {
                    return chunks.refuse("samples come before the chunk that says how they are stored");
                };
                let data_bytes = match length {
                    UNKNOWN_LENGTH => long_data_bytes,
                    length => Some(u64::from(length)),
                };
                let data_offset = chunks.offset;
                return Ok(Header { encoding, channels, sample_rate_hz, data_offset, data_bytes });
            }
            id => {
                let what = format!("the chunk {}", crate::source::cells::quoted(id));
                chunks.skip(padded(length), &what)?;
            }
        }
    }
}

/// Chunks begin at even bytes.
fn padded(length: u32) -> u64 {
    u64::from(length) + u64::from(length % 2)
}

fn read_format<R: Read>(chunks: &mut Chunks<R>, length: u32) -> Result<(Encoding, usize, u32), HeaderError> {
    if length < 16 {
        return chunks.refuse(format!("a format chunk of {length} bytes is too short"));
    }
    let fixed: [u8; 16] = chunks.take("the format chunk")?;
    let word = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    let (mut tag, channels, block, bits) = (word(0), usize::from(word(2)), usize::from(word(12)), word(14));
    let sample_rate_hz = u32::from_le_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let mut read = 16;
    if tag == EXTENSIBLE && length >= 40 {
        let extension: [u8; 24] = chunks.take("the format chunk")?;
        read = 40;
        if extension[10..] != SUBFORMAT_TAIL {
            return chunks.refuse("samples are stored in a way that is no standard one");
        }
        tag = u16::from_le_bytes([extension[8], extension[9]]);
    }
    let encoding = match (tag, bits) {
        (PCM, 8) => Encoding::Unsigned8,
        (PCM, 16) => Encoding::Typed(SampleType::I16),
        (PCM, 24) => Encoding::Typed(SampleType::I24),
        (PCM, 32) => Encoding::Typed(SampleType::I32),
        (IEEE_FLOAT, 32) => Encoding::Typed(SampleType::F32),
        (IEEE_FLOAT, 64) => Encoding::Typed(SampleType::F64),
        _ => {
            return chunks.refuse(format!(
                "samples of format {tag} with {bits} bits are not read: known are PCM with 8, 16, 24 and 32 bits and \
                 floats with 32 and 64; convert the file"
            ));
        }
    };
    let expected = channels * usize::from(encoding.bits() / 8);
    if block != expected {
        return chunks.refuse(format!(
            "says that a row of {channels} channels with {bits} bits has {block} bytes, but it has {expected}"
        ));
    }
    chunks.skip(padded(length) - read, "the format chunk")?;
    Ok((encoding, channels, sample_rate_hz))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), rf64 in any::<bool>()) {
            let mut file = if rf64 { b"RF64" } else { b"RIFF" }.to_vec();
            file.extend(b"\0\0\0\0WAVEfmt \x10\0\0\0");
            file.extend(bytes);
            let _ = read(file.as_slice());
        }
    }
}
