//! The times of records in EDF+ annotations.

use crate::source::time::{NANOS_PER_SECOND, decimal_ns};

/// Nanoseconds from the header's time to the beginning of the record, by the first of its annotations: a sign, a
/// decimal number of seconds, and 0x14.
pub(super) fn onset_ns(annotations: &[u8]) -> Option<i64> {
    let end = annotations.iter().position(|byte| matches!(byte, 0x14 | 0x15 | 0))?;
    let text = std::str::from_utf8(annotations.get(..end)?).ok()?;
    text.starts_with(['+', '-']).then(|| decimal_ns(text, NANOS_PER_SECOND))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_annotation_has_the_time() {
        assert_eq!(onset_ns(b"+0\x14\x14\0\0"), Some(0));
        assert_eq!(onset_ns(b"+1800.25\x14\x14\0+1801\x150.5\x14beat\x14\0"), Some(1_800_250_000_000));
        assert_eq!(onset_ns(b"-0.065\x14\x14\0"), Some(-65_000_000));
        for nonsense in [&b""[..], b"\0\0", b"5\x14\x14", b"+\x14", b"+1e400\x14", b"+1", b"\xff\xff\x14"] {
            assert_eq!(onset_ns(nonsense), None, "{nonsense:?}");
        }
    }
}
