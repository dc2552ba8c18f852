//! Checks: what stands at the end of a record and tells whether it is whole.

use bytes::Bytes;
use crc::{CRC_16_IBM_3740, CRC_16_MODBUS, CRC_16_XMODEM, CRC_32_ISO_HDLC, Crc};

use super::{Fault, number};
use crate::source::file::Endian;

/// A check and how it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// How it is computed.
    pub kind: CheckKind,
    /// The order of its bytes.
    pub endian: Endian,
    /// What it is computed over.
    pub covers: Covers,
}

/// How a check is computed. Polynomials and the like are those of the catalogue of parametrised CRC algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// CRC-16/IBM-3740, also called CRC-16/CCITT-FALSE: polynomial 0x1021, begins with 0xffff.
    Crc16Ccitt,
    /// CRC-16/XMODEM: polynomial 0x1021, begins with 0.
    Crc16Xmodem,
    /// CRC-16/MODBUS: polynomial 0x8005 reflected, begins with 0xffff.
    Crc16Modbus,
    /// CRC-32/ISO-HDLC, that of zip and Ethernet.
    Crc32,
    /// All bytes exclusive-or.
    Xor8,
    /// The sum of all bytes modulo 256.
    Sum8,
}

/// Where begins what a check is computed over; it ends before the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covers {
    /// With the record.
    Record,
    /// With the length before it.
    Length,
    /// With the sync.
    Sync,
}

static CCITT: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
static XMODEM: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
static MODBUS: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
static CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

impl CheckKind {
    /// Bytes that it takes.
    pub fn width(self) -> usize {
        match self {
            Self::Xor8 | Self::Sum8 => 1,
            Self::Crc16Ccitt | Self::Crc16Xmodem | Self::Crc16Modbus => 2,
            Self::Crc32 => 4,
        }
    }

    /// The check of `bytes`.
    pub fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Crc16Ccitt => CCITT.checksum(bytes).into(),
            Self::Crc16Xmodem => XMODEM.checksum(bytes).into(),
            Self::Crc16Modbus => MODBUS.checksum(bytes).into(),
            Self::Crc32 => CRC32.checksum(bytes),
            Self::Xor8 => bytes.iter().fold(0, |all, byte| all ^ byte).into(),
            Self::Sum8 => bytes.iter().fold(0_u8, |all, byte| all.wrapping_add(*byte)).into(),
        }
    }
}

impl Check {
    /// True if `stored` is the check of `covered`.
    pub(super) fn fits(&self, covered: &[u8], stored: &[u8]) -> bool {
        stored.len() == self.kind.width() && number(stored, self.endian) == u64::from(self.kind.of(covered))
    }
}

/// Takes the check off the end of a decoded record.
pub(super) fn checked(record: Bytes, check: Option<Check>) -> Result<Bytes, Fault> {
    let Some(check) = check else { return Ok(record) };
    // Nothing but a check is no record.
    let length = record.len().checked_sub(check.kind.width()).filter(|length| *length > 0);
    let length = length.ok_or(Fault::Check)?;
    match record.split_at_checked(length) {
        Some((covered, stored)) if check.fits(covered, stored) => Ok(record.slice(..length)),
        _ => Err(Fault::Check),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_those_of_the_catalogue() {
        let digits = b"123456789";
        for (kind, expected) in [
            (CheckKind::Crc16Ccitt, 0x29b1),
            (CheckKind::Crc16Xmodem, 0x31c3),
            (CheckKind::Crc16Modbus, 0x4b37),
            (CheckKind::Crc32, 0xcbf4_3926),
            (CheckKind::Xor8, 0x31),
            (CheckKind::Sum8, 0xdd),
        ] {
            assert_eq!(kind.of(digits), expected, "{kind:?}");
        }
    }

    #[test]
    fn the_order_of_bytes_matters() {
        let check = |endian| Check { kind: CheckKind::Crc16Ccitt, endian, covers: Covers::Record };
        let record = Bytes::from_static(b"123456789\xb1\x29");
        assert_eq!(checked(record.clone(), Some(check(Endian::Little))).unwrap(), b"123456789"[..]);
        assert_eq!(checked(record, Some(check(Endian::Big))), Err(Fault::Check));
        assert_eq!(checked(Bytes::from_static(b"\xff\xff"), Some(check(Endian::Big))), Err(Fault::Check));
    }
}
