//! Why bytes are not a packet or not an `.rvl` file.

use std::fmt;
use std::io;

/// Why a packet or an `.rvl` file cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketError {
    kind: ErrorKind,
    message: String,
}

/// What went wrong, for a caller that wants to act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The bytes contradict themselves or their checksum.
    Corruption,
    /// The bytes end before what they hold does.
    InsufficientData,
    /// The bytes need a newer reader.
    UnsupportedVersion,
    /// No model with the packet's id is at hand.
    UnknownModel,
    /// What was to be written does not fit the format.
    InvalidArgument,
    /// The operating system refused.
    Io,
}

impl PacketError {
    /// An error of this kind; `message` says what and where.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(super) fn corruption(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corruption, message)
    }

    pub(super) fn insufficient(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InsufficientData, message)
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnsupportedVersion, message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PacketError {}

impl From<io::Error> for PacketError {
    fn from(error: io::Error) -> Self {
        Self::new(ErrorKind::Io, error.to_string())
    }
}
