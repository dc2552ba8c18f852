//! Names that file systems take.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Bytes of a name, at most: file systems take 255, and other parts of a file's name stand beside it.
const MAX_NAME_BYTES: usize = 160;
/// Bytes of a hash that stands for the end of a long name.
const HASH_BYTES: usize = 8;

/// `text` as a part of a file's name: letters, digits, `-`, `_` and `.` stay (ASCII; a `.` in front does not), every
/// other byte becomes `%` and two hexadecimal digits. Of a long one, the end becomes `~` and its hash. No two texts
/// become the same name.
pub(super) fn safe_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'.' if i == 0 => name += "%2E",
            byte if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) => name.push(char::from(byte)),
            byte => drop(write!(name, "%{byte:02X}")),
        }
    }
    if name.is_empty() {
        // A name of its own, which no other text has.
        name.push('%');
    }
    if name.len() > MAX_NAME_BYTES {
        name.truncate(MAX_NAME_BYTES - 1 - 2 * HASH_BYTES);
        name.push('~');
        for byte in Sha256::digest(text).iter().take(HASH_BYTES) {
            let _ = write!(name, "{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_safe() {
        assert_eq!(safe_name("pump-7_x.y"), "pump-7_x.y");
        assert_eq!(safe_name("100/MLII"), "100%2FMLII");
        assert_eq!(safe_name("../../etc"), "%2E.%2F..%2Fetc");
        assert_eq!(safe_name("ä b"), "%C3%A4%20b");
        assert_eq!(safe_name(""), "%");
        assert_eq!(safe_name(&"x".repeat(1000)).len(), MAX_NAME_BYTES);
    }

    proptest! {
        #[test]
        fn no_two_texts_share_a_name(one in "[a%2F/.~é]{0,6}", other in "[a%2F/.~é]{0,6}", long: bool) {
            let end = if long { "x".repeat(200) } else { String::new() };
            let (one, other) = (one + &end, other + &end);
            prop_assert_eq!(one == other, safe_name(&one) == safe_name(&other));
            prop_assert!(safe_name(&one).len() <= MAX_NAME_BYTES);
        }
    }
}
