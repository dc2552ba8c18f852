//! The `.rvl` file: a stream of checked records that hold streams, packets and an index.
//!
//! A file can be written and read from front to back through a pipe. Every record can be found again
//! after damage; what is damaged costs no more than itself.

mod index;
mod lookahead;
mod part;
mod reader;
mod record;
mod recover;
mod seek;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub use index::{Index, IndexEntry};
pub use part::{Part, Placed};
pub use reader::{Event, Reader};
pub use recover::{Recovered, RecoveredStream, recover};
pub use seek::Timing;
pub use writer::Writer;

use super::PacketParts;

/// The newest version of the file format that this build reads.
pub const RVL_VERSION: u8 = 1;

/// What every `.rvl` file starts with. Like PNG's, it shows a transfer that changed line ends or cut the
/// eighth bit.
const MAGIC: [u8; 8] = *b"\x89RVL\r\n\x1a\n";
/// Bytes before the first record: magic, version and three bytes of check.
const FILE_HEADER_BYTES: usize = MAGIC.len() + 4;

/// Where the bytes of a file go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileParts {
    /// The packets.
    pub packets: PacketParts,
    /// Everything else.
    pub container: ContainerParts,
}

impl FileParts {
    /// All bytes that are not damaged.
    pub fn total(&self) -> u64 {
        self.packets.total() + self.container.total()
    }
}

/// Where those bytes of a file go that are not packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerParts {
    /// The file's own header.
    pub file_header: u64,
    /// What stands before each packet to find it.
    pub record_heads: u64,
    /// Records that describe streams.
    pub streams: u64,
    /// The index and the footer that points at it.
    pub index: u64,
    /// Records that only newer readers know.
    pub unknown: u64,
}

impl ContainerParts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.file_header + self.record_heads + self.streams + self.index + self.unknown
    }
}

/// The file header of this version.
fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    let (content, check) = header.split_at_mut(MAGIC.len() + 1);
    content[..MAGIC.len()].copy_from_slice(&MAGIC);
    content[MAGIC.len()] = RVL_VERSION;
    check.copy_from_slice(&header_check(content));
    header
}

/// The check of a file header: the lowest three bytes of the CRC32C of what stands before it.
fn header_check(content: &[u8]) -> [u8; 3] {
    let [a, b, c, _] = crc32c::crc32c(content).to_le_bytes();
    [a, b, c]
}
