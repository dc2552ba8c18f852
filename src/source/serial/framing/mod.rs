//! Framing: where records begin and end among the bytes of a wire.
//!
//! [`Framing`] is a decoder for `tokio_util::codec::FramedRead`. It never fails: a `FramedRead` ends its stream at a
//! decoder's error, so that bytes that are no record are items like the records. After them it finds the next record
//! by itself, whatever came between, and holds no more than one record and what was read beside it.

mod check;
mod cobs;
mod delimiter;
mod fixed;
mod length_delimited;
mod newline_delimited;
mod search;
mod slip;
mod start_end;

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::Decoder;

pub use check::{Check, CheckKind, Covers};
pub use length_delimited::{LengthCounts, LengthField};
pub use start_end::Escape;

use crate::source::file::Endian;

/// Bytes of what is no record that are kept for a look at them.
const KEPT_BYTES: usize = 256;
/// What is no record is given out after so many bytes, so that a wire of nothing else is heard of.
const MAX_RUN_BYTES: usize = 2048;

/// How records stand on a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FramingOptions {
    /// What tells where a record begins and ends.
    pub method: Method,
    /// What stands at the end of a record and tells whether it is whole.
    pub check: Option<Check>,
}

/// What tells where a record begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// A line feed behind each, with or without a carriage return before it.
    NewlineDelimited {
        /// Bytes of a record, at most.
        max_length: usize,
    },
    /// All have the same length.
    Fixed {
        /// Bytes of a record on the wire: sync, record and check.
        length: usize,
        /// What each begins with; may be empty.
        sync: Vec<u8>,
    },
    /// Each says how long it is.
    LengthDelimited {
        /// What each begins with; may be empty.
        sync: Vec<u8>,
        /// The length behind it.
        field: LengthField,
        /// What the length counts.
        counts: LengthCounts,
        /// Bytes of a record, at most.
        max_length: usize,
    },
    /// Consistent Overhead Byte Stuffing, a zero byte behind each.
    Cobs {
        /// Bytes of a record, at most.
        max_length: usize,
    },
    /// RFC 1055.
    Slip {
        /// Bytes of a record, at most.
        max_length: usize,
    },
    /// A byte before and a byte behind each; they may be the same.
    StartEnd {
        /// The byte before.
        start: u8,
        /// The byte behind.
        end: u8,
        /// How these bytes are written within a record; none: they do not occur.
        escape: Option<Escape>,
        /// Bytes of a record, at most.
        max_length: usize,
    },
}

/// What was found on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record, without what frames it.
    Whole {
        /// The record.
        record: Bytes,
        /// Bytes that it took on the wire, with what stood between it and the one before.
        wire_bytes: usize,
    },
    /// Bytes that are no record.
    Corrupt {
        /// Why not.
        fault: Fault,
        /// The first of them.
        bytes: Bytes,
        /// How many they are.
        wire_bytes: usize,
    },
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing in them begins a record.
    NoStart,
    /// A length that cannot be.
    Length,
    /// The check at the end does not fit.
    Check,
    /// A sequence that the encoding does not have.
    Encoding,
    /// More than a record may have.
    TooLong,
    /// The next record begins within this one, or nobody saw its beginning.
    CutShort,
    /// The wire ended within it.
    Unfinished,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::NoStart,
        Self::Length,
        Self::Check,
        Self::Encoding,
        Self::TooLong,
        Self::CutShort,
        Self::Unfinished,
    ];

    /// One word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoStart => "no_start",
            Self::Length => "length",
            Self::Check => "check",
            Self::Encoding => "encoding",
            Self::TooLong => "too_long",
            Self::CutShort => "cut_short",
            Self::Unfinished => "unfinished",
        }
    }

    /// What is wrong, in the words of a message.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoStart => "no record begins there",
            Self::Length => "a length that no record has",
            Self::Check => "the check at the record's end does not fit",
            Self::Encoding => "bytes that the encoding does not have",
            Self::TooLong => "more bytes than a record may have",
            Self::CutShort => "the record is cut short",
            Self::Unfinished => "the wire ended within the record",
        }
    }
}

/// What a method finds at the front of the bytes that have come.
enum Step {
    /// More bytes are needed.
    More,
    /// So many bytes stand between records.
    Between(usize),
    /// So many bytes are a record.
    Record { wire_bytes: usize, record: Bytes },
    /// So many bytes are none.
    Corrupt {
        wire_bytes: usize,
        fault: Fault,
        /// True if what follows may be part of the same trouble.
        open: bool,
    },
}

impl Step {
    /// What `wire_bytes` bytes with a record in them are, or with nothing.
    fn of(wire_bytes: usize, record: Result<Bytes, Fault>) -> Self {
        match record {
            Ok(record) if record.is_empty() => Self::Between(wire_bytes),
            Ok(record) => Self::Record { wire_bytes, record },
            Err(fault) => Self::Corrupt { wire_bytes, fault, open: false },
        }
    }
}

enum Cutter {
    Newline(newline_delimited::NewlineDelimited),
    Fixed(fixed::Fixed),
    Length(length_delimited::LengthDelimited),
    Cobs(cobs::Cobs),
    Slip(slip::Slip),
    StartEnd(start_end::StartEnd),
}

/// Finds records among the bytes of a wire.
pub struct Framing {
    cutter: Cutter,
    /// Bytes since the last record that belong to none and separate it from the next.
    between: usize,
    corrupt: Option<Run>,
    ready: Option<Frame>,
}

/// Bytes one behind the other that are no record.
struct Run {
    fault: Fault,
    kept: BytesMut,
    wire_bytes: usize,
}

impl Run {
    fn into_frame(self) -> Frame {
        Frame::Corrupt { fault: self.fault, bytes: self.kept.freeze(), wire_bytes: self.wire_bytes }
    }
}

impl Framing {
    /// A decoder that begins anywhere on the wire: where nothing but a delimiter tells where a record begins, what
    /// comes before the first one counts as cut.
    pub fn new(options: &FramingOptions) -> Self {
        let check = options.check;
        let cutter = match options.method.clone() {
            Method::NewlineDelimited { max_length } => {
                Cutter::Newline(newline_delimited::NewlineDelimited::new(max_length, check))
            }
            Method::Fixed { length, sync } => Cutter::Fixed(fixed::Fixed::new(length, sync, check)),
            Method::LengthDelimited { sync, field, counts, max_length } => {
                Cutter::Length(length_delimited::LengthDelimited::new(sync, field, counts, max_length, check))
            }
            Method::Cobs { max_length } => Cutter::Cobs(cobs::Cobs::new(max_length, check)),
            Method::Slip { max_length } => Cutter::Slip(slip::Slip::new(max_length, check)),
            Method::StartEnd { start, end, escape, max_length } => {
                Cutter::StartEnd(start_end::StartEnd::new(start, end, escape, max_length, check))
            }
        };
        Self { cutter, between: 0, corrupt: None, ready: None }
    }

    fn step(&mut self, bytes: &[u8]) -> Step {
        if bytes.is_empty() {
            return Step::More;
        }
        match &mut self.cutter {
            Cutter::Newline(cutter) => cutter.step(bytes),
            Cutter::Fixed(cutter) => cutter.step(bytes),
            Cutter::Length(cutter) => cutter.step(bytes),
            Cutter::Cobs(cutter) => cutter.step(bytes),
            Cutter::Slip(cutter) => cutter.step(bytes),
            Cutter::StartEnd(cutter) => cutter.step(bytes),
        }
    }

    /// Adds bytes that are no record; gives them out once nothing more belongs to them.
    fn discard(&mut self, bytes: &[u8], fault: Fault, open: bool) -> Option<Frame> {
        let between = std::mem::take(&mut self.between);
        let run = self.corrupt.get_or_insert_with(|| Run { fault, kept: BytesMut::new(), wire_bytes: 0 });
        let room = KEPT_BYTES.saturating_sub(run.kept.len());
        run.kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        run.wire_bytes += bytes.len() + between;
        if open && run.wire_bytes < MAX_RUN_BYTES {
            return None;
        }
        self.corrupt.take().map(Run::into_frame)
    }
}

impl Decoder for Framing {
    type Item = Frame;
    type Error = std::io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Self::Error> {
        loop {
            if let Some(frame) = self.ready.take() {
                return Ok(Some(frame));
            }
            match self.step(buffer) {
                Step::More => return Ok(None),
                Step::Between(bytes) => {
                    buffer.advance(bytes);
                    self.between += bytes;
                }
                Step::Corrupt { wire_bytes, fault, open } => {
                    let bytes = buffer.split_to(wire_bytes);
                    if let Some(frame) = self.discard(&bytes, fault, open) {
                        return Ok(Some(frame));
                    }
                }
                Step::Record { wire_bytes, record } => {
                    buffer.advance(wire_bytes);
                    let wire_bytes = wire_bytes + std::mem::take(&mut self.between);
                    let whole = Frame::Whole { record, wire_bytes };
                    match self.corrupt.take() {
                        Some(run) => {
                            self.ready = Some(whole);
                            return Ok(Some(run.into_frame()));
                        }
                        None => return Ok(Some(whole)),
                    }
                }
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Self::Error> {
        if let Some(frame) = self.decode(buffer)? {
            return Ok(Some(frame));
        }
        if buffer.is_empty() {
            return Ok(self.corrupt.take().map(Run::into_frame));
        }
        let rest = buffer.split();
        Ok(self.discard(&rest, Fault::Unfinished, false))
    }
}

/// The number that bytes are.
fn number(bytes: &[u8], endian: Endian) -> u64 {
    let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    match endian {
        Endian::Little => bytes.iter().rev().fold(0, shift),
        Endian::Big => bytes.iter().fold(0, shift),
    }
}

#[cfg(test)]
mod tests;
