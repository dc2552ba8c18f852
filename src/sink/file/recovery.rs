//! What earlier runs have left.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::disk::{BUFFER_BYTES, PARTIAL, lock, write_error};
use super::template::PathTemplate;
use crate::packet::{ErrorKind, rvl};
use crate::signal::StreamKey;
use crate::sink::SinkError;

/// The files that a template can have made.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Those that did not get their names, by those names.
    pub(super) partials: Vec<PathBuf>,
    /// For each key the number after the highest one.
    pub(super) numbers: HashMap<String, u64>,
}

impl Left {
    /// Looks through the folders; those that cannot be read hold nothing.
    pub(super) fn find(template: &PathTemplate) -> Self {
        let mut left = Self::default();
        let (root, depth) = template.root();
        left.look(template, &root, depth);
        left.partials.sort();
        left
    }

    fn look(&mut self, template: &PathTemplate, folder: &str, depth: usize) {
        let place = if folder.is_empty() { Path::new(".") } else { Path::new(folder) };
        let Ok(entries) = std::fs::read_dir(place) else { return };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{folder}{name}");
            if depth > 0 {
                if entry.path().is_dir() {
                    self.look(template, &format!("{path}/"), depth - 1);
                }
                continue;
            }
            let whole = path.strip_suffix(PARTIAL);
            let Some(named) = template.read(whole.unwrap_or(&path)) else { continue };
            if let Some(number) = named.number {
                let next = self.numbers.entry(named.key).or_default();
                *next = number.saturating_add(1).max(*next);
            }
            self.partials.extend(whole.map(PathBuf::from));
        }
    }
}

/// A segment of an earlier run, closed now.
#[derive(Debug)]
pub(super) struct Recovered {
    /// The first frame of each of its streams, and the one after the last.
    pub(super) frames: HashMap<StreamKey, (u64, u64)>,
    /// Keeps others from it.
    pub(super) lock: File,
}

/// Cuts off what a crash tore from a partial file and closes it; none where it holds no packets, and is gone, or is
/// something else, and stays.
pub(super) fn recover(partial: &Path, to_disk: bool) -> Result<Option<Recovered>, SinkError> {
    let error = |error: io::Error| write_error(partial, error);
    let mut file = OpenOptions::new().read(true).write(true).open(partial).map_err(error)?;
    lock(&file, partial)?;
    let recovered = match rvl::recover(BufReader::with_capacity(BUFFER_BYTES, &file)) {
        Ok(recovered) => recovered,
        Err(error) if error.kind() == ErrorKind::Io => {
            return Err(SinkError::Packets { path: partial.to_owned(), source: error });
        }
        Err(error) => {
            tracing::warn!(
                "{}: left as it is, for no packets can be read from it: {error}",
                partial.display()
            );
            return Ok(None);
        }
    };
    if recovered.streams.iter().all(|stream| stream.next_frame == 0) {
        std::fs::remove_file(partial).map_err(error)?;
        return Ok(None);
    }
    let mut frames: HashMap<StreamKey, (u64, u64)> = HashMap::new();
    for stream in recovered.streams.iter().filter(|stream| stream.next_frame > 0) {
        let range = frames.entry(stream.info.key.clone()).or_insert((u64::MAX, 0));
        *range = (stream.first_frame.min(range.0), stream.next_frame.max(range.1));
    }
    if !recovered.closed {
        file.set_len(recovered.end)
            .and_then(|()| file.seek(SeekFrom::Start(recovered.end)))
            .map_err(error)?;
        let packets_error = |source| SinkError::Packets { path: partial.to_owned(), source };
        let writer = rvl::Writer::resume(BufWriter::with_capacity(BUFFER_BYTES, file), recovered);
        let (output, _) = writer.and_then(rvl::Writer::finish).map_err(packets_error)?;
        file = output.into_inner().map_err(|unwritten| error(unwritten.into_error()))?;
        if to_disk {
            file.sync_all().map_err(error)?;
        }
    }
    Ok(Some(Recovered { frames, lock: file }))
}

/// The frame after the last one before which none is missing.
pub(super) fn end_of(mut ranges: Vec<(u64, u64)>) -> u64 {
    ranges.sort_unstable();
    let first = ranges.first().map_or(0, |(first, _)| *first);
    ranges.into_iter().fold(first, |end, (first, last)| if first <= end { end.max(last) } else { end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_behind_a_hole_are_as_good_as_missing() {
        assert_eq!(end_of(vec![(5, 9), (3, 6), (9, 10)]), 10);
        assert_eq!(end_of(vec![(11, 20), (3, 6), (4, 5)]), 6);
        assert_eq!(end_of(vec![]), 0);
    }
}
