//! One file, read as it grows: whole lines or rows, and nothing of the one that is being written.

use std::fs::{File, Metadata};
use std::io::Result;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::identity::{Identity, modified_ns, read_at};

/// Bytes that are read at a time.
pub(super) const READ_BYTES: usize = 1 << 16;
/// A line that is longer is no line of samples.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// What is read whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A line with its end.
    Line,
    /// So many bytes.
    Row(usize),
}

/// How a file came to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By its name.
    Named,
    /// It had the name before, and may still be written.
    Rotated,
    /// A copy of what had the name before; nobody writes to it.
    Copy,
}

/// Whole units of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Where it begins in its file.
    pub(super) start: u64,
    /// The byte behind it.
    pub(super) end: u64,
    pub(super) content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Units(Vec<u8>),
    /// One line that is too long to be kept.
    TooLong,
}

/// A file that is read as it grows.
pub(super) struct Tail {
    path: PathBuf,
    file: File,
    identity: Identity,
    kind: Kind,
    /// The position of its first byte.
    base: i64,
    unit: Unit,
    /// The byte behind the last whole unit.
    consumed: u64,
    /// Bytes of a line that is too long, which are not kept.
    left_out: u64,
    /// What was read behind them.
    buffer: Vec<u8>,
    header: Option<Vec<u8>>,
}

impl Tail {
    /// Reads the file at `path` from byte `consumed` on.
    pub(super) fn open(path: &Path, kind: Kind, unit: Unit, base: i64, consumed: u64) -> Result<Self> {
        let file = open(path)?;
        let metadata = file.metadata()?;
        let identity = Identity::of(&file, &metadata)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            identity,
            kind,
            base,
            unit,
            consumed,
            left_out: 0,
            buffer: Vec::new(),
            header: None,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn base(&self) -> i64 {
        self.base
    }

    /// The byte behind the last whole unit that was read.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Bytes behind the last whole unit that have been read.
    pub(super) fn unfinished(&self) -> u64 {
        self.left_out + self.buffer.len() as u64
    }

    /// The position of a byte.
    pub(super) fn position(&self, byte: u64) -> i64 {
        self.base.saturating_add(i64::try_from(byte).unwrap_or(i64::MAX))
    }

    /// The position behind everything that has been read.
    pub(super) fn end(&self) -> i64 {
        self.position(self.consumed + self.unfinished())
    }

    pub(super) fn metadata(&self) -> Result<Metadata> {
        self.file.metadata()
    }

    /// True unless what has been read is no longer there: the file was cut, or written anew.
    pub(super) fn is_intact(&mut self) -> Result<bool> {
        let metadata = self.file.metadata()?;
        if metadata.len() < self.consumed + self.unfinished() {
            return Ok(false);
        }
        let unchanged = modified_ns(&metadata) == self.identity.modified_ns
            && metadata.len() == self.consumed + self.unfinished();
        if unchanged {
            return Ok(true);
        }
        if !self.identity.begins(&self.file)? {
            return Ok(false);
        }
        self.identity.refresh(&self.file, &metadata)?;
        Ok(true)
    }

    /// True if the file has no name any more.
    pub(super) fn is_deleted(&self) -> Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Bytes that have not been consumed.
    pub(super) fn lag(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len().saturating_sub(self.consumed))
    }

    /// The next whole units; none where there are no more.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>> {
        loop {
            if let Some(block) = self.take() {
                return Ok(Some(block));
            }
            if self.unit == Unit::Line && self.buffer.len() >= MAX_LINE_BYTES {
                self.left_out += self.buffer.len() as u64;
                self.buffer.clear();
            }
            let before = self.buffer.len();
            self.buffer.resize(before + READ_BYTES, 0);
            let at = self.consumed + self.left_out + before as u64;
            let read = read_at(&self.file, self.buffer.get_mut(before..).unwrap_or_default(), at);
            self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(None);
            }
        }
    }

    /// The whole units of the buffer.
    fn take(&mut self) -> Option<Block> {
        let is_end = |byte: &u8| *byte == b'\n';
        let (units, too_long) = match self.unit {
            Unit::Row(bytes) => (self.buffer.len() - self.buffer.len() % bytes, false),
            Unit::Line if self.left_out > 0 => (self.buffer.iter().position(is_end)? + 1, true),
            Unit::Line => (self.buffer.iter().rposition(is_end)? + 1, false),
        };
        if units == 0 {
            return None;
        }
        let rest = self.buffer.split_off(units);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let start = self.consumed;
        self.consumed += std::mem::take(&mut self.left_out) + bytes.len() as u64;
        let content = if too_long { Content::TooLong } else { Content::Units(bytes) };
        Some(Block { start, end: self.consumed, content })
    }

    /// The first line of the file, once it is whole, without its end.
    pub(super) fn header(&mut self) -> Result<Option<&[u8]>> {
        if self.header.is_none() {
            let mut line = vec![0; READ_BYTES];
            let read = read_at(&self.file, &mut line, 0)?;
            line.truncate(read);
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                line.truncate(end);
                self.header = Some(line);
            }
        }
        Ok(self.header.as_deref())
    }
}

/// Opens a regular file.
pub(super) fn open(path: &Path) -> Result<File> {
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("is no regular file, and only those can be followed"));
    }
    File::open(path)
}

/// The byte behind the last whole unit of a file.
pub(super) fn last_whole(path: &Path, unit: Unit) -> Result<u64> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    match unit {
        Unit::Row(bytes) => Ok(length - length % bytes as u64),
        Unit::Line => {
            let mut end = length;
            while end > 0 {
                let start = end.saturating_sub(READ_BYTES as u64);
                let mut piece = vec![0; (end - start) as usize];
                let read = read_at(&file, &mut piece, start)?;
                piece.truncate(read);
                if let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') {
                    return Ok(start + last as u64 + 1);
                }
                end = start;
            }
            Ok(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn units(block: &Block) -> &[u8] {
        match &block.content {
            Content::Units(bytes) => bytes,
            Content::TooLong => panic!("{block:?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_the_pieces_whole_lines_come_once_and_in_order(
            pieces in prop::collection::vec("[a-c\n]{0,12}", 0..30), row in 0_usize..5,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            let mut writer = File::create(&path).unwrap();
            let unit = if row == 0 { Unit::Line } else { Unit::Row(row) };
            let mut tail = Tail::open(&path, Kind::Named, unit, 100, 0).unwrap();
            let (mut written, mut seen) = (Vec::new(), Vec::new());
            for piece in &pieces {
                writer.write_all(piece.as_bytes()).unwrap();
                written.extend_from_slice(piece.as_bytes());
                prop_assert!(tail.is_intact().unwrap());
                while let Some(block) = tail.next_block().unwrap() {
                    prop_assert_eq!(block.start, seen.len() as u64);
                    let bytes = units(&block);
                    seen.extend_from_slice(bytes);
                    prop_assert_eq!(block.end, seen.len() as u64);
                }
                let whole = match unit {
                    Unit::Line => written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
                    Unit::Row(bytes) => written.len() - written.len() % bytes,
                };
                prop_assert_eq!(&seen, &written[..whole]);
                prop_assert_eq!(tail.end(), 100 + written.len() as i64);
                prop_assert_eq!(last_whole(&path, unit).unwrap(), whole as u64);
            }
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_is_told_once_it_has_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut writer = File::create(&path).unwrap();
        writer.write_all(b"first\n").unwrap();
        let long = vec![b'x'; MAX_LINE_BYTES];
        let mut tail = Tail::open(&path, Kind::Named, Unit::Line, 0, 0).unwrap();
        for _ in 0..3 {
            writer.write_all(&long).unwrap();
            while let Some(block) = tail.next_block().unwrap() {
                assert_eq!(units(&block), b"first\n");
            }
            assert!(tail.buffer.len() <= MAX_LINE_BYTES + READ_BYTES);
        }
        assert_eq!(tail.unfinished(), 3 * MAX_LINE_BYTES as u64);
        writer.write_all(b"\nlast\nand").unwrap();
        let end = 6 + 3 * MAX_LINE_BYTES as u64 + 1;
        let block = tail.next_block().unwrap().unwrap();
        assert_eq!(block, Block { start: 6, end, content: Content::TooLong });
        assert_eq!(units(&tail.next_block().unwrap().unwrap()), b"last\n");
        assert_eq!(tail.next_block().unwrap(), None);
        assert_eq!(tail.unfinished(), 3);
    }

    #[test]
    fn a_file_that_was_cut_or_written_anew_is_not_intact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "header\n1\n2\n3").unwrap();
        let mut tail = Tail::open(&path, Kind::Named, Unit::Line, 0, 0).unwrap();
        assert_eq!(units(&tail.next_block().unwrap().unwrap()), b"header\n1\n2\n");
        assert_eq!(tail.next_block().unwrap(), None);
        assert!(tail.is_intact().unwrap());
        let mut writer = File::options().append(true).open(&path).unwrap();
        writer.write_all(b"3\n").unwrap();
        assert!(tail.is_intact().unwrap());
        std::fs::write(&path, "another header, and longer than what was there\n").unwrap();
        assert!(!tail.is_intact().unwrap(), "longer than before, but another one");
        std::fs::write(&path, "header\n").unwrap();
        assert!(!tail.is_intact().unwrap(), "shorter");
    }
}
