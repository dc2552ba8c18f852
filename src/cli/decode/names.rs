//! File names for streams.

use std::collections::HashSet;

use super::format::Format;

/// Bytes of a name without its extension; file systems take 255.
const MAX_NAME_BYTES: usize = 200;

/// Gives each stream a file name of its own.
#[derive(Default)]
pub(super) struct FileNames {
    /// In lower case, for file systems that make no difference.
    taken: HashSet<String>,
}

impl FileNames {
    /// The stream's key with what file systems dislike replaced; with a number behind it where another stream has
    /// that name already.
    pub(super) fn name(&mut self, key: &str, format: Format) -> String {
        let safe: String =
            key.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        let safe = safe.trim_start_matches('.');
        let end = (0..=MAX_NAME_BYTES).rev().find(|end| safe.is_char_boundary(*end)).unwrap_or(0);
        let safe = match safe.get(..end).unwrap_or(safe) {
            "" => "stream",
            safe => safe,
        };
        let mut stem = safe.to_owned();
        let mut number = 1;
        while !self.taken.insert(stem.to_lowercase()) {
            number += 1;
            stem = format!("{safe}-{number}");
        }
        format!("{stem}.{}", format.extension())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_safe_and_each_stream_has_its_own() {
        let mut names = FileNames::default();
        let mut name = |key: &str| names.name(key, Format::Csv);
        assert_eq!(name("100/MLII"), "100_MLII.csv");
        assert_eq!(name("100:MLII"), "100_MLII-2.csv");
        assert_eq!(name("100_mlii"), "100_mlii-3.csv");
        assert_eq!(name("../../etc/passwd"), "_.._etc_passwd.csv");
        assert_eq!(name(""), "stream.csv");
        assert_eq!(name(".."), "stream-2.csv");
        assert_eq!(name("Läufer 7"), "Läufer_7.csv");
        assert_eq!(name(&"ä".repeat(300)).len(), 204);
    }

    proptest! {
        #[test]
        fn no_two_streams_share_a_file(keys in prop::collection::vec("[aA/:.-]{0,3}(2|-2)?", 1..80)) {
            let mut names = FileNames::default();
            let found: HashSet<String> =
                keys.iter().map(|key| names.name(key, Format::Raw).to_lowercase()).collect();
            prop_assert_eq!(found.len(), keys.len());
            prop_assert!(found.iter().all(|name| !name.contains('/') && !name.starts_with('.')));
        }
    }
}
