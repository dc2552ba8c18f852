//! Consistent Overhead Byte Stuffing (Cheshire and Baker, 1999).

use bytes::Bytes;

use super::delimiter::Delimiter;
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
        match self.packets.next(bytes) {
            Ok(body) => Step::of(body.len() + 1, self.record(body)),
            Err(step) => step,
        }
    }

    fn record(&self, body: &[u8]) -> Result<Bytes, Fault> {
        match cobs::decode_vec(body) {
            Ok(record) if record.is_empty() => Ok(Bytes::new()),
            Ok(record) if record.len() > self.max_length => Err(Fault::TooLong),
            Ok(record) => check::checked(record.into(), self.check),
            Err(_) => Err(Fault::Encoding),
        }
    }
}
