//! Records that all have the same length.

use bytes::Bytes;

use super::search::{Lock, Verdict, before_sync};
use super::{Check, Covers, Fault, Step};

pub(super) struct Fixed {
    length: usize,
    sync: Vec<u8>,
    check: Option<Check>,
    lock: Lock,
}

impl Fixed {
    pub(super) fn new(length: usize, sync: Vec<u8>, check: Option<Check>) -> Self {
        // At least a byte, or the search would not get on.
        Self { length: length.max(1), sync, check, lock: Lock::default() }
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let before = before_sync(&self.sync, bytes);
        if before > 0 {
            self.lock.lose();
            return Step::Corrupt { wire_bytes: before, fault: Fault::NoStart, open: true };
        }
        let Some((wire, behind)) = bytes.split_at_checked(self.length) else { return Step::More };
        let end = self.length.saturating_sub(self.check.map_or(0, |check| check.kind.width()));
        let (before_check, stored) = wire.split_at_checked(end).unwrap_or((wire, &[]));
        let record = before_check.get(self.sync.len()..).unwrap_or_default();
        let refused = match self.check {
            Some(check) => {
                let covered = if check.covers == Covers::Record { record } else { before_check };
                (!check.fits(covered, stored)).then_some(Fault::Check)
            }
            None => match self.lock.judge(&self.sync, behind) {
                Verdict::Record => None,
                Verdict::NoRecord => Some(Fault::NoStart),
                Verdict::More => return Step::More,
            },
        };
        match refused {
            None => Step::Record { wire_bytes: self.length, record: Bytes::copy_from_slice(record) },
            Some(fault) => {
                self.lock.lose();
                Step::Corrupt { wire_bytes: 1, fault, open: true }
            }
        }
    }
}
