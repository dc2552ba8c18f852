//! Codes packed at a fixed number of bits.

use super::bits::{BitReader, BitWriter};
use super::error::PacketError;

/// The lowest `bits` bits (1 to 16) of each code, back to back, most significant bit first; zeros fill up
/// the last byte.
pub fn pack_codes(codes: &[u16], bits: u32) -> Vec<u8> {
    let bits = bits.clamp(1, 16);
    let mut writer = BitWriter::after(Vec::with_capacity(packed_bytes(bits, codes.len())));
    for &code in codes {
        writer.put(u32::from(code), bits);
    }
    writer.finish()
}

/// The inverse of [`pack_codes`] for `count` codes.
///
/// # Errors
/// `bytes` is not as long as `count` codes need, `bits` is not 1 to 16, or unused bits are not zero.
pub fn unpack_codes(bytes: &[u8], bits: u32, count: usize) -> Result<Vec<u16>, PacketError> {
    if !(1..=16).contains(&bits) {
        return Err(PacketError::invalid(format!("codes of {bits} bits: 1 to 16 are possible")));
    }
    let needed = packed_bytes(bits, count);
    let found = bytes.len();
    if found < needed {
        return Err(PacketError::insufficient(format!(
            "codes: {count} of {bits} bits need {needed} bytes, {found} are there"
        )));
    }
    if found > needed {
        return Err(PacketError::corruption(format!(
            "codes: {count} of {bits} bits need {needed} bytes, {found} are there"
        )));
    }
    let mut reader = BitReader::new(bytes);
    let codes: Vec<u16> =
        std::iter::from_fn(|| reader.take(bits).map(|code| code as u16)).take(count).collect();
    match reader.finish() {
        Some(_) => Ok(codes),
        None => Err(PacketError::corruption("codes: the unused bits of the last byte are not zero")),
    }
}

/// Bytes that `count` codes of `bits` bits take.
fn packed_bytes(bits: u32, count: usize) -> usize {
    let bits = bits as usize;
    // In two parts, so that no count can overflow.
    (count / 8).saturating_mul(bits).saturating_add((count % 8 * bits).div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::super::error::ErrorKind;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn codes_come_back(codes in prop::collection::vec(any::<u16>(), 0..200), bits in 1_u32..=16) {
            let codes: Vec<u16> = codes.iter().map(|code| code & (u16::MAX >> (16 - bits))).collect();
            let bytes = pack_codes(&codes, bits);
            prop_assert_eq!(bytes.len(), (codes.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(unpack_codes(&bytes, bits, codes.len()).unwrap(), codes);
        }
    }

    #[test]
    fn the_first_code_is_in_the_highest_bits() {
        assert_eq!(pack_codes(&[0b101, 0b011, 0b110], 3), [0b1010_1111, 0]);
        assert_eq!(pack_codes(&[0x12, 0x34], 8), [0x12, 0x34]);
    }

    #[test]
    fn wrong_lengths_and_stray_bits_are_refused() {
        let kind = |bytes: &[u8], bits, count| unpack_codes(bytes, bits, count).unwrap_err().kind();
        assert_eq!(kind(&[0], 3, 3), ErrorKind::InsufficientData);
        assert_eq!(kind(&[0, 0, 0], 3, 3), ErrorKind::Corruption);
        assert_eq!(kind(&[0, 1], 3, 3), ErrorKind::Corruption);
        assert_eq!(kind(&[0], 8, usize::MAX), ErrorKind::InsufficientData);
        assert_eq!(kind(&[0], 17, 1), ErrorKind::InvalidArgument);
    }
}
