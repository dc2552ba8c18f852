//! What is kept of followed files, as bytes.
//!
//! ```text
//! "RVFS"  version: u8  records  CRC-32C of all before it: u32, little endian
//! ```
//!
//! The records are in bincode 2's standard configuration: the number of files, and for each of them a [`FileRecord`]
//! and as many [`WindowRecord`]s and names of streams behind a gap as it says.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{BorrowDecode, Encode};

use super::identity::Identity;

const MAGIC: [u8; 4] = *b"RVFS";
const VERSION: u8 = 1;
const CRC_BYTES: usize = 4;

/// By the name that a file is followed under.
pub(super) type Entries = BTreeMap<String, Entry>;

/// How far a file has been read, over its rotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The file that was being read.
    pub(super) identity: Identity,
    /// The position of its first byte.
    pub(super) base: i64,
    /// The next position to be read.
    pub(super) next: i64,
    /// The streams whose next sample does not follow on the last one.
    pub(super) behind_gap: BTreeSet<String>,
    /// The state of each stream, for [`Framer::restore`](crate::window::Framer::restore).
    pub(super) windows: BTreeMap<String, Vec<u8>>,
}

/// Lengths are checked against the input before anything is allocated: what has one is borrowed.
#[derive(Encode, BorrowDecode)]
struct FileRecord<'a> {
    name: &'a str,
    device: u64,
    inode: u64,
    modified_ns: i64,
    fingerprint_bytes: u64,
    fingerprint: u32,
    base: i64,
    next: i64,
    windows: u64,
    behind_gap: u64,
}

#[derive(Encode, BorrowDecode)]
struct WindowRecord<'a> {
    stream: &'a str,
    window: &'a [u8],
}

/// Why bytes are no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StateError {
    #[error("is no state of followed files: it does not begin with \"RVFS\"")]
    NotState,
    #[error("has version {0}, this program reads {VERSION}")]
    Version(u8),
    #[error("is damaged: {0}")]
    Damaged(String),
}

pub(super) fn encode(entries: &Entries) -> Result<Vec<u8>, bincode::error::EncodeError> {
    fn push(record: impl Encode, bytes: &mut Vec<u8>) -> Result<(), bincode::error::EncodeError> {
        bincode::encode_into_std_write(record, bytes, bincode::config::standard()).map(drop)
    }
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    push(entries.len() as u64, &mut bytes)?;
    for (name, entry) in entries {
        let Entry { identity, base, next, behind_gap, windows } = entry;
        let record = FileRecord {
            name,
            device: identity.device,
            inode: identity.inode,
            modified_ns: identity.modified_ns,
            fingerprint_bytes: identity.fingerprint_bytes,
            fingerprint: identity.crc,
            base: *base,
            next: *next,
            windows: windows.len() as u64,
            behind_gap: behind_gap.len() as u64,
        };
        push(record, &mut bytes)?;
        for (stream, window) in windows {
            push(WindowRecord { stream, window }, &mut bytes)?;
        }
        for stream in behind_gap {
            push(stream.as_str(), &mut bytes)?;
        }
    }
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Entries, StateError> {
    let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Err(StateError::NotState) };
    let damaged = |reason: &str| StateError::Damaged(reason.to_owned());
    match rest.first() {
        Some(&VERSION) => {}
        Some(version) => return Err(StateError::Version(*version)),
        None => return Err(damaged("it ends behind its beginning")),
    }
    let Some((content, crc)) = bytes.split_last_chunk::<CRC_BYTES>() else {
        return Err(damaged("it ends behind its beginning"));
    };
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return Err(damaged("its checksum is wrong"));
    }
    let mut records = Records { left: content.get(MAGIC.len() + 1..).unwrap_or_default() };
    let mut entries = Entries::new();
    let files: u64 = records.next()?;
    for _ in 0..files {
        let file: FileRecord<'_> = records.next()?;
        let mut entry = Entry {
            identity: Identity {
                device: file.device,
                inode: file.inode,
                modified_ns: file.modified_ns,
                fingerprint_bytes: file.fingerprint_bytes,
                crc: file.fingerprint,
            },
            base: file.base,
            next: file.next,
            behind_gap: BTreeSet::new(),
            windows: BTreeMap::new(),
        };
        if !entry.is_possible() {
            return Err(damaged("it has positions that no file has"));
        }
        for _ in 0..file.windows {
            let WindowRecord { stream, window } = records.next()?;
            entry.windows.insert(stream.to_owned(), window.to_vec());
        }
        for _ in 0..file.behind_gap {
            let stream: &str = records.next()?;
            entry.behind_gap.insert(stream.to_owned());
        }
        entries.insert(file.name.to_owned(), entry);
    }
    match records.left {
        [] => Ok(entries),
        left => Err(damaged(&format!("{} bytes are left over", left.len()))),
    }
}

impl Entry {
    fn is_possible(&self) -> bool {
        // Far above what any file has, and far below what overflows.
        let possible = 0..1_i64 << 62;
        possible.contains(&self.base)
            && possible.contains(&self.next)
            && self.base <= self.next
            && self.identity.fingerprint_bytes <= super::identity::FINGERPRINT_BYTES
    }
}

/// Records one after the other.
struct Records<'a> {
    left: &'a [u8],
}

impl<'a> Records<'a> {
    fn next<R: BorrowDecode<'a, ()>>(&mut self) -> Result<R, StateError> {
        let standard = bincode::config::standard();
        let (record, read) = bincode::borrow_decode_from_slice(self.left, standard)
            .map_err(|error| StateError::Damaged(error.to_string()))?;
        self.left = self.left.get(read..).unwrap_or_default();
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let identity = (any::<u64>(), any::<u64>(), any::<i64>(), 0..=1024_u64, any::<u32>());
        let windows = prop::collection::btree_map(".{0,8}", prop::collection::vec(any::<u8>(), 0..20), 0..4);
        let behind_gap = prop::collection::btree_set(".{0,8}", 0..3);
        (identity, 0..1_i64 << 40, 0..1_i64 << 40, windows, behind_gap).prop_map(
            |((device, inode, modified_ns, fingerprint_bytes, crc), base, read, windows, behind_gap)| Entry {
                identity: Identity { device, inode, modified_ns, fingerprint_bytes, crc },
                base,
                next: base + read,
                behind_gap,
                windows,
            },
        )
    }

    fn entries() -> impl Strategy<Value = Entries> {
        prop::collection::btree_map(".{0,12}", entry(), 0..4)
    }

    /// `content` with a right checksum.
    fn sealed(content: &[u8]) -> Vec<u8> {
        [content, &crc32c::crc32c(content).to_le_bytes()].concat()
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_back(entries in entries()) {
            prop_assert_eq!(decode(&encode(&entries).unwrap()), Ok(entries));
        }

        #[test]
        fn every_damage_is_found(entries in entries(), at in any::<prop::sample::Index>(), bit in 0_u32..8, cut in any::<bool>()) {
            let mut bytes = encode(&entries).unwrap();
            let at = at.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= 1_u8 << bit,
            }
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = decode(&sealed(&[&MAGIC[..], &[VERSION], &bytes].concat()));
        }
    }

    #[test]
    fn each_refusal_says_what_it_is() {
        let told = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert_eq!(told(b"time,v\n"), "is no state of followed files: it does not begin with \"RVFS\"");
        assert_eq!(told(b"RVFS"), "is damaged: it ends behind its beginning");
        assert_eq!(told(b"RVFS\x02abcd"), "has version 2, this program reads 1");
        assert_eq!(told(b"RVFS\x01abcd"), "is damaged: its checksum is wrong");
        assert_eq!(told(&sealed(b"RVFS\x01\0x")), "is damaged: 1 bytes are left over");
    }

    #[test]
    fn the_first_version_stays_readable() {
        let entry = Entry {
            identity: Identity { device: 1, inode: 300, modified_ns: -1, fingerprint_bytes: 9, crc: 7 },
            base: 20,
            next: 29,
            behind_gap: BTreeSet::from(["b".to_owned()]),
            windows: BTreeMap::from([("a".to_owned(), vec![1, 2])]),
        };
        let entries = Entries::from([("x.csv".to_owned(), entry)]);
        let golden =
            [&b"RVFS\x01\x01\x05x.csv\x01\xfb\x2c\x01\x01\x09\x07\x28\x3a\x01\x01\x01a\x02\x01\x02\x01b"[..]]
                .concat();
        assert_eq!(decode(&sealed(&golden)), Ok(entries.clone()));
        assert_eq!(encode(&entries).unwrap(), sealed(&golden));
    }
}
