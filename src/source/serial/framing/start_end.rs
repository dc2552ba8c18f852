//! Records between a start byte and an end byte.

use bytes::Bytes;

use super::delimiter::Delimiter;
use super::{Check, Fault, Step, check};

/// How a byte that means something is written within a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escape {
    /// What stands before it.
    pub byte: u8,
    /// What it is exclusive-or with: 0x20 in HDLC, 0 where it stays as it is.
    pub xor: u8,
}

pub(super) struct StartEnd {
    start: u8,
    end: u8,
    escape: Option<Escape>,
    max_length: usize,
    check: Option<Check>,
    /// Where start and end are the same, they are delimiters.
    flags: Option<Delimiter>,
    /// Bytes at the front that were looked at, and whether the next one is escaped.
    scanned: (usize, bool),
}

impl StartEnd {
    pub(super) fn new(
        start: u8,
        end: u8,
        escape: Option<Escape>,
        max_length: usize,
        check: Option<Check>,
    ) -> Self {
        let max_length = max_length.saturating_add(check.map_or(0, |check| check.kind.width()));
        let max_wire = max_length.saturating_mul(if escape.is_some() { 2 } else { 1 });
        let flags = (start == end).then(|| Delimiter::new(end, max_wire, check.is_none()));
        Self { start, end, escape, max_length, check, flags, scanned: (0, false) }
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        if let Some(flags) = &mut self.flags {
            return match flags.next(bytes) {
                Ok(body) => Step::of(body.len() + 1, self.record(body)),
                Err(step) => step,
            };
        }
        let before = bytes.iter().position(|byte| *byte == self.start).unwrap_or(bytes.len());
        if before > 0 {
            self.scanned = (0, false);
            return Step::Corrupt { wire_bytes: before, fault: Fault::NoStart, open: true };
        }
        let (scanned, mut escaped) = self.scanned;
        for (place, byte) in bytes.iter().enumerate().skip(scanned.max(1)) {
            if std::mem::take(&mut escaped) {
                continue;
            }
            if *byte == self.end {
                self.scanned = (0, false);
                let wire_bytes = place + 1;
                return match bytes.get(1..place) {
                    Some([]) | None => Step::Between(wire_bytes),
                    Some(body) => Step::of(wire_bytes, self.record(body)),
                };
            }
            if *byte == self.start {
                self.scanned = (0, false);
                return Step::Corrupt { wire_bytes: place, fault: Fault::CutShort, open: false };
            }
            escaped = self.escape.is_some_and(|escape| escape.byte == *byte);
        }
        if bytes.len() > self.max_wire() {
            self.scanned = (0, false);
            return Step::Corrupt { wire_bytes: 1, fault: Fault::TooLong, open: true };
        }
        self.scanned = (bytes.len(), escaped);
        Step::More
    }

    /// Bytes between start and end, at most.
    fn max_wire(&self) -> usize {
        self.max_length.saturating_mul(if self.escape.is_some() { 2 } else { 1 }).saturating_add(1)
    }

    fn record(&self, body: &[u8]) -> Result<Bytes, Fault> {
        match self.unescaped(body) {
            Some(record) if record.len() > self.max_length => Err(Fault::TooLong),
            Some(record) => check::checked(record.into(), self.check),
            None => Err(Fault::Encoding),
        }
    }

    fn unescaped(&self, body: &[u8]) -> Option<Vec<u8>> {
        let Some(escape) = self.escape else { return Some(body.to_vec()) };
        let mut record = Vec::with_capacity(body.len());
        let mut bytes = body.iter();
        while let Some(byte) = bytes.next() {
            record.push(if *byte == escape.byte { *bytes.next()? ^ escape.xor } else { *byte });
        }
        Some(record)
    }
}
