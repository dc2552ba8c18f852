//! Rules across sections.

use std::path::{Component, Path, PathBuf};

use super::section::{Refused, Report};
use super::source::reads;
use super::{DeadLetterConfig, DeliveryConfig, SinkConfig, SourceConfig, StateStore, WindowConfig};
use crate::sink::PathTemplate;

mod kafka;

/// The sections, each valid alone. Those that were refused are left out, so that the problems found here show
/// beside theirs.
pub(super) struct Sections<'a> {
    pub(super) source: Option<&'a SourceConfig>,
    pub(super) window: Option<&'a WindowConfig>,
    pub(super) delivery: Option<&'a DeliveryConfig>,
    /// What `[delivery]` says itself.
    pub(super) delivery_keys: &'a [String],
    pub(super) sinks: &'a [Result<SinkConfig, Refused>],
    pub(super) dead_letters: Option<&'a DeadLetterConfig>,
}

/// Reports what the sections may not have together.
pub(super) fn check(sections: &Sections<'_>, report: &Report<'_>) {
    one_stdout(sections.sinks, report);
    one_writer_per_file(sections, report);
    kafka::check(sections, report);
}

fn one_stdout(sinks: &[Result<SinkConfig, Refused>], report: &Report<'_>) {
    let stdout = sinks.iter().enumerate().filter(|(_, sink)| matches!(sink, Ok(SinkConfig::Stdout(_))));
    let mut places = stdout.map(|(i, _)| format!("sinks[{i}]"));
    let Some(first) = places.next() else { return };
    for place in places {
        report.refuse(&format!("{place}.type"), format!("{first} already writes to standard output"));
    }
}

fn one_writer_per_file(sections: &Sections<'_>, report: &Report<'_>) {
    let read: &[PathBuf] = match sections.source {
        Some(SourceConfig::File(file)) => &file.paths,
        Some(SourceConfig::Follow(follow)) => std::slice::from_ref(&follow.path),
        Some(SourceConfig::Serial(serial)) => std::slice::from_ref(&serial.port.path),
        _ => &[],
    };
    let written = sections.sinks.iter().enumerate().filter_map(|(i, sink)| match sink {
        // The pipeline's name is the same for all.
        Ok(SinkConfig::File(file)) => Some((format!("sinks[{i}].path"), file.path.of_pipeline("\u{1}"))),
        _ => None,
    });
    let letters = match sections.dead_letters {
        Some(DeadLetterConfig::File { path }) => {
            Some(("dead_letters.path".to_owned(), PathTemplate::of_path(&plain(path))))
        }
        _ => None,
    };
    let state = match sections.delivery.map(|delivery| &delivery.state) {
        Some(StateStore::File { path }) => {
            Some(("delivery.state_path".to_owned(), PathTemplate::of_path(&plain(path))))
        }
        _ => None,
    };
    let mut used: Vec<(String, PathTemplate)> = Vec::new();
    for (key, path) in written.chain(letters).chain(state) {
        if read.iter().any(|read| reads(read, &path)) {
            report.refuse(&key, "the same file as source.path: it would be overwritten");
        } else if let Some((user, _)) = used.iter().find(|(_, used)| used.overlaps(&path)) {
            report.refuse(&key, format!("the same file as {user}: it would be overwritten"));
        }
        used.push((key, path));
    }
}

/// The path without `.`; `..` stays, as what it leads to depends on links.
pub(super) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}
