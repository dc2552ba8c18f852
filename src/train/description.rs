//! Which recordings a recipe names, and what is known of them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recipe::Data;

/// What a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Weights and codebooks are fitted to it.
    Train,
    /// The best model is chosen on it.
    Valid,
    /// It is measured once, for reporting.
    Test,
}

impl Split {
    /// Every split.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        })
    }
}

/// How a described recording's samples are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StoredAs {
    /// WFDB format 212: a `.dat` with its `.hea` beside it.
    Wfdb212,
    /// Little-endian 16-bit counts, channels interleaved.
    Int16le,
}

/// `NAME.json`: what is known of the recording in the file beside it. Other keys are allowed and ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Description {
    /// The recording's name.
    pub(super) name: String,
    /// What was measured (`ecg`).
    pub(super) modality: String,
    /// Whom it was measured on; a subject is in one split only.
    pub(super) subject: String,
    /// What it is for.
    pub(super) split: Split,
    /// Samples per second and channel.
    pub(super) sample_rate_hz: f64,
    /// Channels in the file.
    pub(super) channels: usize,
    /// How the samples are stored.
    pub(super) dtype: StoredAs,
    /// The file, relative to the description.
    pub(super) file: PathBuf,
    /// The collection it comes from.
    pub(super) dataset: String,
    /// Its licence.
    pub(super) licence: String,
    /// The kind of licence (`open`, `unclear`, `nc`).
    pub(super) licence_class: String,
    /// Where the file was taken from.
    pub(super) source_repo: String,
    /// SHA-256 of the file in hexadecimal, where given.
    #[serde(default)]
    pub(super) sha256: Option<String>,
}

/// A recording that a recipe names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// What it is for.
    pub(super) split: Split,
    /// The file to read: `.hea` for WFDB.
    pub(super) path: PathBuf,
    /// What is known of it.
    pub(super) description: Option<Description>,
}

impl Found {
    /// The description's name, or that of the file.
    pub(super) fn name(&self) -> String {
        match &self.description {
            Some(description) => description.name.clone(),
            None => self.path.file_stem().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned(),
        }
    }
}

/// Why the recordings of a recipe cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// A folder or description that cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A description that is not one.
    #[error("{}: not the description of a recording: {source}", path.display())]
    Description {
        /// The description.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A pattern that fits no file.
    #[error("data.{split}: nothing fits {}", pattern.display())]
    Nothing {
        /// The list.
        split: Split,
        /// The pattern.
        pattern: PathBuf,
    },
    /// A split without recordings.
    #[error("{}: no {split} recording passes the recipe's filters", folder.display())]
    Empty {
        /// The split.
        split: Split,
        /// The folder.
        folder: PathBuf,
    },
}

/// The recordings that a recipe names, in the order of their paths within each split.
///
/// # Errors
/// A folder or description that cannot be read, a pattern that fits nothing, no recording to train on or
/// to validate with.
pub(super) fn find(data: &Data) -> Result<Vec<Found>, FindError> {
    match &data.folder {
        Some(folder) => described(data, folder),
        None => listed(data),
    }
}

fn described(data: &Data, folder: &Path) -> Result<Vec<Found>, FindError> {
    let mut found = Vec::new();
    let passes = |filter: &[String], value: &String| filter.is_empty() || filter.contains(value);
    for path in entries(folder)? {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        if let Some(description) = read_description(&path)?
            && passes(&data.datasets, &description.dataset)
            && passes(&data.modalities, &description.modality)
            && passes(&data.licence_classes, &description.licence_class)
        {
            found.push(described_file(&path, description.split, description));
        }
    }
    for split in [Split::Train, Split::Valid] {
        if !found.iter().any(|recording| recording.split == split) {
            return Err(FindError::Empty { split, folder: folder.to_owned() });
        }
    }
    found.sort_by_key(|recording| recording.split);
    Ok(found)
}

fn listed(data: &Data) -> Result<Vec<Found>, FindError> {
    let mut found = Vec::new();
    for (split, patterns) in
        [(Split::Train, &data.train), (Split::Valid, &data.valid), (Split::Test, &data.test)]
    {
        let mut paths = BTreeSet::new();
        for pattern in patterns {
            let fitting = expand(pattern)?;
            if fitting.is_empty() {
                return Err(FindError::Nothing { split, pattern: pattern.clone() });
            }
            paths.extend(fitting);
        }
        for path in paths {
            let beside = path.with_extension("json");
            let description = if beside.is_file() { read_description(&beside)? } else { None };
            found.push(match description {
                Some(description) => described_file(&beside, split, description),
                None => Found { split, path, description: None },
            });
        }
    }
    Ok(found)
}

fn described_file(path: &Path, split: Split, description: Description) -> Found {
    let mut file = path.with_file_name(&description.file);
    if description.dtype == StoredAs::Wfdb212 {
        file.set_extension("hea");
    }
    Found { split, path: file, description: Some(description) }
}

/// None for JSON that names no file: other JSON may lie beside descriptions.
fn read_description(path: &Path) -> Result<Option<Description>, FindError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| FindError::Io { path: path.to_owned(), source })?;
    let damaged = |source| FindError::Description { path: path.to_owned(), source };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(damaged)?;
    if value.get("file").is_none() {
        return Ok(None);
    }
    serde_json::from_value(value).map(Some).map_err(damaged)
}

/// The files of a folder, sorted, so that a run does not depend on the file system.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, FindError> {
    let failed = |source| FindError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// The files that a path with `*` and `?` in its file name fits.
fn expand(pattern: &Path) -> Result<Vec<PathBuf>, FindError> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !name.contains(['*', '?']) {
        return Ok(if pattern.is_file() { vec![pattern.to_owned()] } else { Vec::new() });
    }
    let folder = match pattern.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut fitting = entries(folder)?;
    fitting.retain(|path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        path.is_file() && fits(name.as_bytes(), file.as_bytes())
    });
    Ok(fitting)
}

/// True if `name` is what `pattern` describes: `*` is any run of bytes, `?` any one.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on after the last `*`, should what follows it not fit here.
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, n));
            }
            Some(&c) if c == b'?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    p = after_star;
                    n = from + 1;
                    retry = Some((after_star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn describe(folder: &Path, name: &str, split: &str, dataset: &str) {
        let description = json!({
            "name": name, "modality": "ecg", "subject": name, "split": split, "sample_rate_hz": 360,
            "channels": 1, "dtype": "int16le", "file": format!("{name}.i16"), "dataset": dataset,
            "licence": "MIT", "licence_class": "open", "source_repo": "example", "notes": "ignored",
        });
        std::fs::write(folder.join(format!("{name}.json")), description.to_string()).unwrap();
    }

    fn names(found: &[Found]) -> Vec<String> {
        found.iter().map(|f| format!("{} {}", f.split, f.name())).collect()
    }

    #[test]
    fn a_folder_is_filtered_and_ordered() {
        let folder = tempfile::tempdir().unwrap();
        describe(folder.path(), "c", "train", "one");
        describe(folder.path(), "a", "valid", "one");
        describe(folder.path(), "b", "train", "one");
        describe(folder.path(), "d", "train", "two");
        std::fs::write(folder.path().join("MANIFEST.json"), "[]").unwrap();
        let mut data = Data { folder: Some(folder.path().into()), ..Data::default() };
        assert_eq!(names(&find(&data).unwrap()), ["train b", "train c", "train d", "valid a"]);
        data.datasets = vec!["one".to_owned()];
        let found = find(&data).unwrap();
        assert_eq!(names(&found), ["train b", "train c", "valid a"]);
        assert_eq!(found[0].path, folder.path().join("b.i16"));
        data.datasets = vec!["two".to_owned()];
        assert!(find(&data).unwrap_err().to_string().contains("no valid recording"));
    }

    #[test]
    fn a_description_that_lies_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.json"), r#"{"file": "x.i16", "split": "holdout"}"#).unwrap();
        let data = Data { folder: Some(folder.path().into()), ..Data::default() };
        let text = find(&data).unwrap_err().to_string();
        assert!(text.contains("x.json") && text.contains("holdout"), "{text}");
        let data = Data { folder: Some("/no/such/folder".into()), ..Data::default() };
        assert!(matches!(find(&data), Err(FindError::Io { .. })));
    }

    #[test]
    fn lists_take_patterns_and_descriptions_beside_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a1.csv", "a2.csv", "b1.csv", "b1.i16"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        describe(folder.path(), "b1", "test", "one");
        let list = |pattern: &str| vec![folder.path().join(pattern)];
        let mut data = Data { train: list("a?.csv"), valid: list("b*.json"), ..Data::default() };
        let found = find(&data).unwrap();
        // The list decides the split, not the description.
        assert_eq!(names(&found), ["train a1", "train a2", "valid b1"]);
        assert_eq!(found[2].path, folder.path().join("b1.i16"));
        data.test = list("c*.csv");
        assert!(find(&data).unwrap_err().to_string().contains("c*.csv"));
    }

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abbcd", false),
            ("*ab*ab", "abxabab", true),
            ("?", "", false),
            ("mitdb_1??.hea", "mitdb_100.hea", true),
            ("a**", "a", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
