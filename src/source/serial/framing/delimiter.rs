//! Records that end with a byte that is not in them.

use super::{Fault, Step};

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

impl Delimiter {
    /// Begins within a record if `cut`.
    pub(super) fn new(delimiter: u8, max_length: usize, cut: bool) -> Self {
        Self { delimiter, max_length, scanned: 0, skipping: cut.then_some(Fault::CutShort), skipped: false }
    }

    /// What stands before the first delimiter, where that may be a record.
    ///
    /// # Errors
    /// What else is at the front.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Step> {
        let from = self.scanned.min(bytes.len());
        let found = bytes.iter().skip(from).position(|byte| *byte == self.delimiter);
        let Some(length) = found.map(|place| from + place) else {
            if bytes.len() > self.max_length {
                self.skipping.get_or_insert(Fault::TooLong);
            }
            let Some(fault) = self.skipping else {
                self.scanned = bytes.len();
                return Err(Step::More);
            };
            self.scanned = 0;
            self.skipped = true;
            return Err(Step::Corrupt { wire_bytes: bytes.len(), fault, open: true });
        };
        self.scanned = 0;
        let skipped = std::mem::take(&mut self.skipped);
        let too_long = (length > self.max_length).then_some(Fault::TooLong);
        match self.skipping.take().filter(|_| skipped || length > 0).or(too_long) {
            Some(fault) => Err(Step::Corrupt { wire_bytes: length + 1, fault, open: false }),
            None if length == 0 => Err(Step::Between(1)),
            None => Ok(bytes.get(..length).unwrap_or_default()),
        }
    }
}
