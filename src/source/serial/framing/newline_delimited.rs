//! Lines.

use bytes::Bytes;

use super::delimiter::Delimiter;
use super::{Check, Fault, Step, check};

pub(super) struct NewlineDelimited {
    lines: Delimiter,
    /// Of a line with its check.
    max_length: usize,
    check: Option<Check>,
}

impl NewlineDelimited {
    pub(super) fn new(max_length: usize, check: Option<Check>) -> Self {
        let check_bytes = check.map_or(0, |check| check.kind.width());
        let max_length = max_length.saturating_add(check_bytes);
        // One byte more for the carriage return.
        let lines = Delimiter::new(b'\n', max_length.saturating_add(1), check.is_none());
        Self { lines, max_length, check }
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        match self.lines.next(bytes) {
            Ok(body) => Step::of(body.len() + 1, self.record(body)),
            Err(step) => step,
        }
    }

    fn record(&self, body: &[u8]) -> Result<Bytes, Fault> {
        let line = body.strip_suffix(b"\r").unwrap_or(body);
        match line.len() {
            0 => Ok(Bytes::new()),
            length if length > self.max_length => Err(Fault::TooLong),
            _ => check::checked(Bytes::copy_from_slice(line), self.check),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carriage_return_makes_no_room_for_another_byte() {
        let mut lines = NewlineDelimited::new(3, None);
        // What comes first may have begun before the wire was opened.
        lines.step(b"x\n");
        assert!(matches!(lines.step(b"abc\r\n"), Step::Record { wire_bytes: 5, .. }));
        assert!(matches!(lines.step(b"abcd\n"), Step::Corrupt { wire_bytes: 5, fault: Fault::TooLong, .. }));
    }
}
