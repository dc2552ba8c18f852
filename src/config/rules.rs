//! Rules across sections.

use std::path::{Component, Path, PathBuf};

use super::section::{Refused, Report};
use super::{DeadLetterConfig, SinkConfig, SourceConfig};

/// Reports what the sections, each valid alone, may not have together. Sections that were refused are
/// left out, so that these problems show beside theirs.
pub(super) fn check(
    source: Option<&SourceConfig>,
    sinks: &[Result<SinkConfig, Refused>],
    dead_letters: Option<&DeadLetterConfig>,
    report: &Report<'_>,
) {
    one_stdout(sinks, report);
    one_writer_per_file(source, sinks, dead_letters, report);
}

fn one_stdout(sinks: &[Result<SinkConfig, Refused>], report: &Report<'_>) {
    let stdout = sinks.iter().enumerate().filter(|(_, sink)| matches!(sink, Ok(SinkConfig::Stdout(_))));
    let mut places = stdout.map(|(i, _)| format!("sinks[{i}]"));
    let Some(first) = places.next() else { return };
    for place in places {
        report.refuse(&format!("{place}.type"), format!("{first} already writes to standard output"));
    }
}

fn one_writer_per_file(
    source: Option<&SourceConfig>,
    sinks: &[Result<SinkConfig, Refused>],
    dead_letters: Option<&DeadLetterConfig>,
    report: &Report<'_>,
) {
    let read = source.map(|SourceConfig::File(file)| ("source.path".to_owned(), file.path.as_path()));
    let written = sinks.iter().enumerate().filter_map(|(i, sink)| match sink {
        Ok(SinkConfig::File(file)) => Some((format!("sinks[{i}].path"), file.path.as_path())),
        _ => None,
    });
    let letters = dead_letters.map(|letters| ("dead_letters.path".to_owned(), letters.path.as_path()));
    let mut used: Vec<(String, PathBuf)> = Vec::new();
    for (key, path) in read.into_iter().chain(written).chain(letters) {
        let plain = plain(path);
        if let Some((user, _)) = used.iter().find(|(_, used)| *used == plain) {
            report.refuse(&key, format!("the same file as {user}: it would be overwritten"));
        }
        used.push((key, plain));
    }
}

/// The path without `.`; `..` stays, as what it leads to depends on links.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}
