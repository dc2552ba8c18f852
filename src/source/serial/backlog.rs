//! What was read and waits for the pipeline: bounded, and what does not fit is counted.

use std::collections::VecDeque;

use super::framing::Frame;

/// What is held of an entry beside its bytes.
const ENTRY_BYTES: usize = 64;

/// Something that came from the wire.
#[derive(Debug)]
pub(super) enum Entry {
    /// Bytes, and when they arrived in nanoseconds since the Unix epoch.
    Frame { frame: Frame, arrival_ns: i64 },
    /// The wire was opened.
    Opened,
    /// Records did not fit, and are gone.
    Dropped(Dropped),
}

/// Records that did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) records: u64,
    /// Samples of all channels in them, as far as they can be told.
    pub(super) samples: u64,
    /// True if bytes that were no record came between them.
    pub(super) damaged: bool,
}

/// Entries in the order in which they came.
///
/// Once it is full, what comes is dropped until half of it has been taken: one long hole breaks one frame, many short
/// ones would break as many and make the pipeline slower still.
#[derive(Debug)]
pub(super) struct Backlog {
    entries: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
    dropping: bool,
    dropped: Dropped,
}

impl Backlog {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, max_bytes, dropping: false, dropped: Dropped::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.dropped == Dropped::default()
    }

    /// Adds what was read, or gives it back where it does not fit.
    pub(super) fn push(&mut self, frame: Frame, arrival_ns: i64) -> Result<(), Frame> {
        let bytes = bytes_of(&frame);
        // One record fits whatever its length.
        let full = self.bytes + bytes > self.max_bytes && !self.entries.is_empty();
        self.dropping = full || (self.dropping && self.bytes > self.max_bytes / 2);
        if self.dropping {
            return Err(frame);
        }
        self.end_hole();
        self.bytes += bytes;
        self.entries.push_back(Entry::Frame { frame, arrival_ns });
        Ok(())
    }

    /// Notes a record that did not fit.
    pub(super) fn drop_record(&mut self, samples: u64) {
        self.dropped.records += 1;
        self.dropped.samples += samples;
    }

    /// Notes bytes that were no record and did not fit.
    pub(super) fn drop_damage(&mut self) {
        self.dropped.damaged = true;
    }

    /// Notes that the wire was opened anew.
    pub(super) fn opened(&mut self) {
        self.end_hole();
        self.entries.push_back(Entry::Opened);
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        if self.entries.is_empty() {
            self.end_hole();
        }
        let entry = self.entries.pop_front()?;
        if let Entry::Frame { frame, .. } = &entry {
            self.bytes -= bytes_of(frame);
        }
        Some(entry)
    }

    fn end_hole(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped != Dropped::default() {
            self.entries.push_back(Entry::Dropped(dropped));
        }
    }
}

fn bytes_of(frame: &Frame) -> usize {
    let (Frame::Whole { record: bytes, .. } | Frame::Corrupt { bytes, .. }) = frame;
    bytes.len() + ENTRY_BYTES
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn record(number: u64) -> Frame {
        Frame::Whole { record: Bytes::copy_from_slice(&number.to_le_bytes()), wire_bytes: 9 }
    }

    proptest! {
        #[test]
        fn every_record_leaves_in_order_or_is_counted(
            room in 1_usize..20, steps in prop::collection::vec((0_u64..8, 0_usize..8), 1..60),
        ) {
            let mut backlog = Backlog::new(room * (8 + ENTRY_BYTES));
            let (mut pushed, mut seen) = (0_u64, 0_u64);
            let mut take = |entry: Entry| {
                match entry {
                    Entry::Frame { frame: Frame::Whole { record, .. }, .. } => {
                        assert_eq!(&record[..], seen.to_le_bytes());
                        seen += 1;
                    }
                    Entry::Dropped(dropped) => {
                        assert_eq!(dropped.samples, 3 * dropped.records);
                        seen += dropped.records;
                    }
                    other => panic!("{other:?}"),
                }
            };
            for (push, pop) in steps {
                for _ in 0..push {
                    if backlog.push(record(pushed), 0).is_err() {
                        backlog.drop_record(3);
                    }
                    pushed += 1;
                    prop_assert!(backlog.entries.len() <= 2 * room + 1);
                }
                (0..pop).filter_map(|_| backlog.pop()).for_each(&mut take);
            }
            while let Some(entry) = backlog.pop() {
                take(entry);
            }
            prop_assert!(backlog.is_empty());
            prop_assert_eq!((seen, backlog.bytes), (pushed, 0));
        }
    }

    #[test]
    fn a_full_backlog_takes_nothing_before_half_of_it_is_gone() {
        let mut backlog = Backlog::new(4 * (8 + ENTRY_BYTES));
        assert!((0..4).all(|number| backlog.push(record(number), 0).is_ok()));
        assert!(backlog.push(record(4), 0).is_err());
        backlog.pop();
        assert!(backlog.push(record(5), 0).is_err());
        backlog.pop();
        assert!(backlog.push(record(6), 0).is_ok());
    }
}
