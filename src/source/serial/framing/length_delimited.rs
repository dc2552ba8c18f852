//! Records that say how long they are.

use bytes::Bytes;

use super::search::{Lock, Verdict, before_sync};
use super::{Check, Covers, Fault, Step, number};
use crate::source::file::Endian;

/// How a length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthField {
    /// Its bytes: 1, 2 or 4.
    pub bytes: usize,
    /// Their order.
    pub endian: Endian,
}

/// What a length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthCounts {
    /// The record.
    Record,
    /// The record and its check.
    RecordAndCheck,
    /// Everything from the sync to the check.
    All,
}

pub(super) struct LengthDelimited {
    sync: Vec<u8>,
    field: LengthField,
    counts: LengthCounts,
    max_length: usize,
    check: Option<Check>,
    lock: Lock,
}

impl LengthDelimited {
    pub(super) fn new(
        sync: Vec<u8>,
        field: LengthField,
        counts: LengthCounts,
        max_length: usize,
        check: Option<Check>,
    ) -> Self {
        Self { sync, field, counts, max_length, check, lock: Lock::default() }
    }

    /// The length of the record whose length field holds this number, if a record can be so long.
    fn record_length(&self, counted: u64) -> Option<usize> {
        let check_bytes = self.check.map_or(0, |check| check.kind.width());
        let others = match self.counts {
            LengthCounts::Record => 0,
            LengthCounts::RecordAndCheck => check_bytes,
            LengthCounts::All => self.sync.len() + self.field.bytes + check_bytes,
        };
        let length = usize::try_from(counted).ok()?.checked_sub(others)?;
        (1..=self.max_length).contains(&length).then_some(length)
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        let before = before_sync(&self.sync, bytes);
        if before > 0 {
            self.lock.lose();
            return Step::Corrupt { wire_bytes: before, fault: Fault::NoStart, open: true };
        }
        let header = self.sync.len() + self.field.bytes;
        let Some(field) = bytes.get(self.sync.len()..header) else { return Step::More };
        let Some(length) = self.record_length(number(field, self.field.endian)) else {
            return self.refuse(Fault::Length);
        };
        let end = header + length;
        let wire_bytes = end + self.check.map_or(0, |check| check.kind.width());
        let Some((wire, behind)) = bytes.split_at_checked(wire_bytes) else { return Step::More };
        let (before_check, stored) = wire.split_at_checked(end).unwrap_or((wire, &[]));
        let record = before_check.get(header..).unwrap_or_default();
        match self.check {
            Some(check) => {
                let from = match check.covers {
                    Covers::Record => header,
                    Covers::Length => self.sync.len(),
                    Covers::Sync => 0,
                };
                if !check.fits(before_check.get(from..).unwrap_or_default(), stored) {
                    return self.refuse(Fault::Check);
                }
            }
            None => match self.lock.judge(&self.sync, behind) {
                Verdict::Record => {}
                Verdict::NoRecord => return self.refuse(Fault::NoStart),
                Verdict::More => return Step::More,
            },
        }
        Step::Record { wire_bytes, record: Bytes::copy_from_slice(record) }
    }

    /// What claimed to be a record may hold the beginning of one: nothing but its first byte is passed over.
    fn refuse(&mut self, fault: Fault) -> Step {
        self.lock.lose();
        Step::Corrupt { wire_bytes: 1, fault, open: true }
    }
}
