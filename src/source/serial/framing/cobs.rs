//! Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999).

use super::delimiter::{Delimiter, Piece};
use super::{Check, Fault, Step, check};

pub(super) struct Cobs {
    packets: Delimiter,
    max_length: usize,
    check: Option<Check>,
}

impl Cobs {
    pub(super) fn new(max_length: usize, check: Option<Check>) -> Self {
        let max_length = max_length.saturating_add(check.map_or(0, |check| check.kind.width()));
        let packets = Delimiter::new(0, cobs::max_encoding_length(max_length), check.is_none());
        Self { packets, max_length, check }
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let length = match self.packets.next(bytes) {
            Piece::More => return Step::More,
            Piece::Nothing => return Step::Between(1),
            Piece::Skipped { bytes, fault, open } => return Step::Corrupt { wire_bytes: bytes, fault, open },
            Piece::Body(length) => length,
        };
        let wire_bytes = length + 1;
        let record = match cobs::decode_vec(bytes.get(..length).unwrap_or_default()) {
            Ok(record) if record.is_empty() => return Step::Between(wire_bytes),
            Ok(record) if record.len() > self.max_length => Err(Fault::TooLong),
            Ok(record) => check::checked(record.into(), self.check),
            Err(_) => Err(Fault::Encoding),
        };
        match record {
            Ok(record) => Step::Record { wire_bytes, record },
            Err(fault) => Step::Corrupt { wire_bytes, fault, open: false },
        }
    }
}
