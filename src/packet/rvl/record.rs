//! Records: marker, kind, length, number and check; then the payload, which ends with its checksum.

use crate::packet::MAX_PACKET_BYTES;
use crate::packet::error::{ErrorKind, PacketError};
use crate::packet::fields::{Fields, put};
use crate::packet::wire::CHECKSUM_BYTES;

/// The first byte of every record.
pub(super) const MARKER: u8 = 0xB7;
/// Bytes of a head, at most.
pub(super) const MAX_HEAD_BYTES: usize = 12;
/// Bytes of a payload with its checksum, at most.
pub(super) const MAX_PAYLOAD_BYTES: usize = MAX_PACKET_BYTES;

/// What a record holds.
pub(super) mod kind {
    pub(in super::super) const STREAM: u8 = 1;
    pub(in super::super) const PACKET: u8 = 2;
    pub(in super::super) const INDEX: u8 = 3;
    pub(in super::super) const FOOTER: u8 = 4;
    pub(in super::super) const SEEK: u8 = MAY_SKIP | 3;
    /// Set in kinds that a reader which does not know them may skip.
    pub(in super::super) const MAY_SKIP: u8 = 0x80;
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    /// The stream that the record is about; 0 in the others.
    pub(super) number: u32,
    /// Bytes of the head itself.
    pub(super) head_bytes: usize,
    /// Bytes of the payload with its checksum.
    pub(super) payload_bytes: usize,
}

/// What stands where a record should start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Head(Head),
    /// The start of a head; the rest is missing.
    Cut,
    Nothing,
}

impl Head {
    /// Bytes of the record.
    pub(super) fn record_bytes(&self) -> usize {
        self.head_bytes + self.payload_bytes
    }

    /// Looks for a head at the start of `bytes`.
    pub(super) fn look(bytes: &[u8]) -> Look {
        match bytes {
            [] => return Look::Cut,
            [MARKER, ..] => {}
            _ => return Look::Nothing,
        }
        let Some(&[_, kind, a, b, c]) = bytes.first_chunk() else { return Look::Cut };
        let payload_bytes = u32::from_le_bytes([a, b, c, 0]) as usize;
        if !(CHECKSUM_BYTES..=MAX_PAYLOAD_BYTES).contains(&payload_bytes) {
            return Look::Nothing;
        }
        let mut fields = Fields::new(bytes.get(5..).unwrap_or_default(), "record");
        let number = match fields.take("number") {
            Ok(number) => number,
            Err(error) if error.kind() == ErrorKind::InsufficientData => return Look::Cut,
            Err(_) => return Look::Nothing,
        };
        let checked = 5 + fields.position();
        let (Some(content), Some(found)) = (bytes.get(..checked), bytes.get(checked..checked + 2)) else {
            return Look::Cut;
        };
        if found != head_check(content) {
            return Look::Nothing;
        }
        Look::Head(Self { kind, number, head_bytes: checked + 2, payload_bytes })
    }
}

/// A whole record; `payload` is without its checksum.
pub(super) fn record(kind: u8, number: u32, payload: &[u8]) -> Result<Vec<u8>, PacketError> {
    let mut record = with_head(kind, number, payload.len() + CHECKSUM_BYTES)?;
    record.extend_from_slice(payload);
    record.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    Ok(record)
}

/// A whole record of a payload that ends with its checksum.
pub(super) fn record_of_checked(kind: u8, number: u32, payload: &[u8]) -> Result<Vec<u8>, PacketError> {
    let mut record = with_head(kind, number, payload.len())?;
    record.extend_from_slice(payload);
    Ok(record)
}

fn with_head(kind: u8, number: u32, payload_bytes: usize) -> Result<Vec<u8>, PacketError> {
    if payload_bytes > MAX_PAYLOAD_BYTES {
        return Err(PacketError::invalid(format!(
            "a record of {payload_bytes} bytes; at most {MAX_PAYLOAD_BYTES} are possible"
        )));
    }
    let mut head = Vec::with_capacity(MAX_HEAD_BYTES + payload_bytes);
    head.extend_from_slice(&[MARKER, kind]);
    head.extend_from_slice(&(payload_bytes as u32).to_le_bytes()[..3]);
    put(&mut head, number)?;
    let check = head_check(&head);
    head.extend_from_slice(&check);
    Ok(head)
}

/// The check of a head: its CRC32C, the upper half folded onto the lower.
fn head_check(content: &[u8]) -> [u8; 2] {
    let crc = crc32c::crc32c(content);
    ((crc ^ (crc >> 16)) as u16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        for (number, bytes) in [(0, 8), (250, 8), (251, 10), (u32::MAX, 12)] {
            let record = record(kind::PACKET, number, &[7; 300]).unwrap();
            let head = Head { kind: kind::PACKET, number, head_bytes: bytes, payload_bytes: 304 };
            assert_eq!(Head::look(&record), Look::Head(head));
            assert_eq!(record.len(), head.record_bytes());
            for cut in 0..bytes {
                assert_eq!(Head::look(&record[..cut]), Look::Cut, "{number} {cut}");
            }
        }
    }

    #[test]
    fn any_changed_byte_of_a_head_shows() {
        for (number, payload) in
            [(0_u32, 10_usize), (3, 1085), (77, 300), (1000, 65_000), (70_000, 2_000_000)]
        {
            let bytes = record(kind::PACKET, number, &vec![1; payload]).unwrap();
            let Look::Head(head) = Head::look(&bytes) else { panic!("no head") };
            for at in 0..head.head_bytes {
                for change in 1..=255 {
                    let mut bytes = bytes[..MAX_HEAD_BYTES + 8].to_vec();
                    bytes[at] ^= change;
                    assert!(!matches!(Head::look(&bytes), Look::Head(_)), "{number} {at} {change}");
                }
            }
        }
    }
}
