//! Records that end with a byte that is not in them.

use super::Fault;

/// Finds the delimiter, and passes over what is too long.
pub(super) struct Delimiter {
    delimiter: u8,
    /// Bytes before the delimiter, at most.
    max_length: usize,
    /// Bytes at the front that were looked at.
    scanned: usize,
    /// Set while what comes is passed over, up to the next delimiter.
    skipping: Option<Fault>,
    /// True if something was passed over since.
    skipped: bool,
}

pub(super) enum Piece {
    /// More bytes are needed.
    More,
    /// A delimiter behind a delimiter.
    Nothing,
    /// So many bytes before a delimiter.
    Body(usize),
    /// So many bytes that are no record, with the delimiter where they have one.
    Skipped { bytes: usize, fault: Fault, open: bool },
}

impl Delimiter {
    /// Begins within a record if `cut`.
    pub(super) fn new(delimiter: u8, max_length: usize, cut: bool) -> Self {
        Self { delimiter, max_length, scanned: 0, skipping: cut.then_some(Fault::CutShort), skipped: false }
    }

    pub(super) fn next(&mut self, bytes: &[u8]) -> Piece {
        let from = self.scanned.min(bytes.len());
        let found = bytes.iter().skip(from).position(|byte| *byte == self.delimiter);
        let Some(length) = found.map(|place| from + place) else {
            if bytes.len() > self.max_length {
                self.skipping.get_or_insert(Fault::TooLong);
            }
            let Some(fault) = self.skipping else {
                self.scanned = bytes.len();
                return Piece::More;
            };
            self.scanned = 0;
            self.skipped = true;
            return Piece::Skipped { bytes: bytes.len(), fault, open: true };
        };
        self.scanned = 0;
        let skipped = std::mem::take(&mut self.skipped);
        match self.skipping.take().filter(|_| skipped || length > 0) {
            Some(fault) => Piece::Skipped { bytes: length + 1, fault, open: false },
            None if length > self.max_length => {
                Piece::Skipped { bytes: length + 1, fault: Fault::TooLong, open: false }
            }
            None if length == 0 => Piece::Nothing,
            None => Piece::Body(length),
        }
    }
}
