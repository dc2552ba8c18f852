//! `[source]`, type `file` with `follow = true`.

use std::path::{Path, PathBuf};

use super::decoding;
use super::interpolate::Expanded;
use super::section::{Refused, Section};
use super::value::Value;
use crate::source::decoding::DecodingOptions;
use crate::source::follow::{Start, is_pattern};

/// Files that are read as they grow.
#[derive(Clone, Debug, PartialEq)]
pub struct FollowSourceConfig {
    /// A file, or a pattern that matches files.
    pub path: PathBuf,
    /// Where a file is read from that nothing was read of yet.
    pub start: Start,
    /// How lines or rows become samples.
    pub decoding: DecodingOptions,
}

const STARTS: &[(&str, Start)] = &[("beginning", Start::Beginning), ("end", Start::End)];

/// What a recording that is read once may say of itself, and a followed file says in its decoding.
const DECODING_KEYS: &[&str] = &[
    "format",
    "sample_rate_hz",
    "channels",
    "sample_type",
    "endian",
    "time_column",
    "delimiter",
    "header",
    "models",
];

/// Refuses what only a followed file has.
pub(super) fn refuse_keys(section: &mut Section<'_>) {
    if let Ok(Some(_)) = section.choice("start", STARTS) {
        section.refuse("start", "only with follow = true");
    }
}

pub(super) fn read(section: &mut Section<'_>) -> Result<FollowSourceConfig, Refused> {
    let path = section.path("path");
    let path = section.required("path", path).and_then(|path| match obstacle(&path) {
        Some(reason) => Err(section.refuse("path", reason)),
        None => Ok(path),
    });
    let start = section.choice("start", STARTS);
    for key in DECODING_KEYS {
        if let Ok(Some(_)) = section.value(key) {
            section.refuse(
                key,
                "with follow = true the table source.decoding says how lines are read; leave it out",
            );
        }
    }
    let decoding = section.value("decoding");
    let decoding = section
        .required("decoding", decoding)
        .and_then(|value| decoding::read(&section.key("decoding"), value, section.report()));
    Ok(FollowSourceConfig { path: path?, start: start?.unwrap_or_default(), decoding: decoding? })
}

/// Why a path cannot be followed.
fn obstacle(path: &Path) -> Option<String> {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if path == Path::new("-") {
        return Some(
            "standard input cannot be followed: what was read of it cannot be read again".to_owned(),
        );
    }
    if ["gz", "zst"].contains(&extension.as_str()) {
        return Some("a compressed file cannot be followed: name the one that is written".to_owned());
    }
    let pattern = is_pattern(path).then(|| glob::Pattern::new(&path.to_string_lossy()).err()).flatten();
    pattern.map(|error| format!("is no pattern: {}, at character {}", error.msg, error.pos))
}

/// True for a source, read or not, that follows files.
pub(super) fn follows(source: Option<&Value>) -> bool {
    let Some(Value::Table(source)) = source else { return false };
    match source.get("follow") {
        Some(Value::Boolean(follow)) => *follow,
        Some(Value::Text(Expanded { text, whole: true })) => text == "true",
        _ => false,
    }
}
