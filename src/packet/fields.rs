//! Fields written by bincode 2 in its standard configuration: little-endian, variable-length integers.

use bincode::config::{self, Configuration};
use bincode::error::DecodeError;
use bincode::{Decode, Encode};

use super::error::PacketError;

const CONFIG: Configuration = config::standard();

/// Appends a value.
pub(super) fn put(out: &mut Vec<u8>, value: impl Encode) -> Result<(), PacketError> {
    bincode::encode_into_std_write(value, out, CONFIG)
        .map(drop)
        .map_err(|error| PacketError::invalid(error.to_string()))
}

/// Takes values one after the other.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    next: usize,
    /// What the bytes are, for messages.
    what: &'static str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, next: 0, what }
    }

    /// Bytes taken so far.
    pub(super) fn position(&self) -> usize {
        self.next
    }

    /// What has not been taken yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.next..).unwrap_or_default()
    }

    /// The next value, called `name` in messages. Only for types that decode without allocating.
    pub(super) fn take<T: Decode<()>>(&mut self, name: &str) -> Result<T, PacketError> {
        match bincode::decode_from_slice(self.rest(), CONFIG) {
            Ok((value, used)) => {
                self.next += used;
                Ok(value)
            }
            Err(DecodeError::UnexpectedEnd { .. }) => Err(self.ends_early(name)),
            Err(error) => {
                Err(PacketError::corruption(format!("{}: {name} at byte {}: {error}", self.what, self.next)))
            }
        }
    }

    /// The next `count` bytes, called `name` in messages.
    pub(super) fn take_bytes(&mut self, count: usize, name: &str) -> Result<&'a [u8], PacketError> {
        let bytes = self.rest().get(..count).ok_or_else(|| self.ends_early(name))?;
        self.next += count;
        Ok(bytes)
    }

    fn ends_early(&self, name: &str) -> PacketError {
        PacketError::insufficient(format!(
            "{} ends after {} bytes, within its {name} at byte {}",
            self.what,
            self.bytes.len(),
            self.next
        ))
    }
}
