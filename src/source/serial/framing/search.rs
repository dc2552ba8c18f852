//! Records that begin with a sync.

/// Bytes at the front that no sync begins with: those before the first place where all of it stands, or as much of it
/// as has come.
pub(super) fn before_sync(sync: &[u8], bytes: &[u8]) -> usize {
    let begins = |place: &usize| {
        let rest = bytes.get(*place..).unwrap_or_default();
        rest.starts_with(sync) || sync.starts_with(rest)
    };
    (0..bytes.len()).find(begins).unwrap_or(bytes.len())
}

/// Whether a sync may be taken for one where no check says so. A sync may stand in the data as well: it takes two of
/// them, a record apart, to begin, and from then on one at each record's beginning.
#[derive(Default)]
pub(super) struct Lock {
    locked: bool,
}

pub(super) enum Verdict {
    Record,
    NoRecord,
    More,
}

impl Lock {
    pub(super) fn lose(&mut self) {
        self.locked = false;
    }

    /// What the bytes behind a record say of it.
    pub(super) fn judge(&mut self, sync: &[u8], behind: &[u8]) -> Verdict {
        if self.locked || sync.is_empty() || behind.starts_with(sync) {
            self.locked = true;
            return Verdict::Record;
        }
        if sync.starts_with(behind) { Verdict::More } else { Verdict::NoRecord }
    }
}
