//! What a path stands for, and what the streams of its files are called.

use std::path::{Component, Path, PathBuf};

/// True for a path with wildcards: `*`, `?` or `[...]`.
pub(crate) fn is_pattern(path: &Path) -> bool {
    has_wildcard(&path.to_string_lossy())
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The files that a pattern matches now, sorted.
pub(super) fn matches(pattern: &Path) -> Vec<PathBuf> {
    // A pattern that is none was refused with the configuration; what cannot be listed is not there yet.
    let paths = glob::glob(&pattern.to_string_lossy()).into_iter().flatten();
    paths.filter_map(Result::ok).filter(|path| path.is_file()).collect()
}

/// The name of the stream of a file that holds one: its own name, without the extension. Where a pattern matches
/// many, from the first folder on that the pattern leaves open, and without the extension only if all have it.
pub(super) fn stream_name(followed: &Path, file: &Path) -> String {
    if !is_pattern(followed) {
        return file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    }
    let is_open = |component: &Component<'_>| has_wildcard(&component.as_os_str().to_string_lossy());
    let fixed = followed.components().take_while(|component| !is_open(component)).count();
    let name: PathBuf = file.components().skip(fixed).collect();
    let extension = followed.extension().filter(|extension| !has_wildcard(&extension.to_string_lossy()));
    match extension {
        Some(_) => name.with_extension("").to_string_lossy().into_owned(),
        None => name.to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named_after_what_tells_their_files_apart() {
        for (followed, file, name) in [
            ("data/ecg.csv", "data/ecg.csv", "ecg"),
            ("data/ecg", "data/ecg", "ecg"),
            ("data/*.csv", "data/bed.1.csv", "bed.1"),
            ("data/*/ecg.csv", "data/bed1/ecg.csv", "bed1/ecg"),
            ("/data/**/*.csv", "/data/a/b/c.csv", "a/b/c"),
            ("data/bed1.*", "data/bed1.csv", "bed1.csv"),
            ("data/bed*", "data/bed1.csv", "bed1.csv"),
        ] {
            assert_eq!(stream_name(Path::new(followed), Path::new(file)), name, "{followed}");
        }
    }

    #[test]
    fn a_pattern_matches_files_only() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("d.csv")).unwrap();
        let found = matches(&folder.path().join("*.csv"));
        assert_eq!(found, [folder.path().join("a.csv"), folder.path().join("b.csv")]);
    }
}
