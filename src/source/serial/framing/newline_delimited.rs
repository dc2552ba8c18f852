//! Lines.

use bytes::Bytes;

use super::delimiter::{Delimiter, Piece};
use super::{Check, Step, check};

pub(super) struct NewlineDelimited {
    lines: Delimiter,
    check: Option<Check>,
}

impl NewlineDelimited {
    pub(super) fn new(max_length: usize, check: Option<Check>) -> Self {
        let check_bytes = check.map_or(0, |check| check.kind.width());
        // One byte more for the carriage return.
        let max_length = max_length.saturating_add(check_bytes + 1);
        Self { lines: Delimiter::new(b'\n', max_length, check.is_none()), check }
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let length = match self.lines.next(bytes) {
            Piece::More => return Step::More,
            Piece::Nothing => return Step::Between(1),
            Piece::Skipped { bytes, fault, open } => return Step::Corrupt { wire_bytes: bytes, fault, open },
            Piece::Body(length) => length,
        };
        let line = bytes.get(..length).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let wire_bytes = length + 1;
        if line.is_empty() {
            return Step::Between(wire_bytes);
        }
        match check::checked(Bytes::copy_from_slice(line), self.check) {
            Ok(record) => Step::Record { wire_bytes, record },
            Err(fault) => Step::Corrupt { wire_bytes, fault, open: false },
        }
    }
}
