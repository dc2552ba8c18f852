//! Which file it is: names change, and so does what a name stands for.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Result};
use std::os::unix::fs::{FileExt, MetadataExt};

/// Bytes at the beginning of a file that tell it from others.
pub(super) const FINGERPRINT_BYTES: u64 = 1024;

/// A file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// When it was last seen to have been written, in nanoseconds since the Unix epoch.
    pub(super) modified_ns: i64,
    /// Bytes that [`Identity::crc`] is of: the first 1024, or as many as there were.
    pub(super) fingerprint_bytes: u64,
    /// CRC-32C of the first bytes.
    pub(super) crc: u32,
}

impl Identity {
    pub(super) fn of(file: &File, metadata: &Metadata) -> Result<Self> {
        let mut identity = Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified_ns: 0,
            fingerprint_bytes: 0,
            crc: crc32c::crc32c(&[]),
        };
        identity.refresh(file, metadata)?;
        Ok(identity)
    }

    /// Takes note of what has been written since. The file still [begins](Identity::begins) as it did.
    pub(super) fn refresh(&mut self, file: &File, metadata: &Metadata) -> Result<()> {
        self.modified_ns = modified_ns(metadata);
        if self.fingerprint_bytes < FINGERPRINT_BYTES && self.fingerprint_bytes < metadata.len() {
            let beginning = beginning(file, FINGERPRINT_BYTES)?;
            self.fingerprint_bytes = beginning.len() as u64;
            self.crc = crc32c::crc32c(&beginning);
        }
        Ok(())
    }

    /// True for the same file system entry, whatever is in it by now.
    pub(super) fn is_entry(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }

    /// True if `file` begins as this one did when it was last looked at.
    pub(super) fn begins(&self, file: &File) -> Result<bool> {
        let beginning = beginning(file, self.fingerprint_bytes)?;
        Ok(beginning.len() as u64 == self.fingerprint_bytes && crc32c::crc32c(&beginning) == self.crc)
    }
}

/// When a file was last written, in nanoseconds since the Unix epoch.
pub(super) fn modified_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// The first `bytes` of a file, or as many as there are.
fn beginning(file: &File, bytes: u64) -> Result<Vec<u8>> {
    let mut beginning = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let read = read_at(file, &mut beginning, 0)?;
    beginning.truncate(read);
    Ok(beginning)
}

/// Fills `buffer` from byte `at` on, as far as the file goes; returns how far that is.
pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_known_while_it_grows_and_no_longer_once_it_begins_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        let mut identity = Identity::of(&file, &file.metadata().unwrap()).unwrap();
        assert_eq!(identity.fingerprint_bytes, 0);
        for piece in [&b"time,v\n"[..], &[b'x'; 700], &[b'y'; 700], &[b'z'; 700]] {
            file.write_all(piece).unwrap();
            assert!(identity.begins(&file).unwrap());
            identity.refresh(&file, &file.metadata().unwrap()).unwrap();
        }
        assert_eq!(identity.fingerprint_bytes, FINGERPRINT_BYTES);
        assert!(identity.is_entry(&std::fs::metadata(&path).unwrap()));

        let copy = folder.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        assert!(identity.begins(&File::open(&copy).unwrap()).unwrap());
        assert!(!identity.is_entry(&std::fs::metadata(&copy).unwrap()));
        file.set_len(1023).unwrap();
        assert!(!identity.begins(&file).unwrap(), "too short");
        std::fs::write(&path, vec![b'x'; 2000]).unwrap();
        assert!(!identity.begins(&file).unwrap(), "other bytes");
    }
}
